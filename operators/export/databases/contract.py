"""What an export asks of a vector database. The rows that are in it are the only record of what it holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import pyarrow as pa

from operators.export.row_ids import Ids
from operators.faults import one_line
from schemas.errors import EmbedlakeError, LakeError, UsageError
from schemas.export import Stamp

Batches = Iterable[tuple[Ids, pa.RecordBatch]]


class Collection(Protocol):
    """One collection. An export that dies is completed by the next: what is there is compared with the lake."""

    def stamp(self) -> Stamp | None:
        """What the collection holds, None when there is no such collection.

        Raises:
            UsageError: it was not made by an export.
        """

    def create(self, schema: pa.Schema, stamp: Stamp) -> None:
        """An empty collection for rows of `schema`; one that is there goes."""

    def ids(self) -> Iterator[Ids]:
        """The ids of all rows."""

    def apply(self, added: Batches, gone: Ids, stamp: Stamp) -> None:
        """Put rows in and take others out, and then stamp it."""


class Opener(Protocol):
    """How a format is called."""

    def __call__(self, target: str, name: str, options: Any) -> AbstractContextManager[Collection]:
        """A collection by its name, for the block."""


@contextmanager
def refusals(place: str) -> Iterator[None]:
    """One line for a person from what a database's client raises in the block.

    Raises:
        LakeError: with the place in front.
    """
    try:
        yield
    except EmbedlakeError:
        raise
    except Exception as error:
        raise LakeError(f"{place}: {one_line(f'{type(error).__name__}: {error}')}") from error


def payloads(rows: pa.RecordBatch, without: str) -> list[dict[str, Any]]:
    """Each row's other columns as JSON has them, without nulls."""
    plain = rows.drop_columns([without])
    return [{name: _json(v) for name, v in row.items() if v is not None} for row in plain.to_pylist()]


def parsed(text: Any, name: str) -> Stamp:
    """The stamp of a collection that is there.

    Raises:
        UsageError: it has none.
    """
    if not isinstance(text, str):
        raise UsageError(f"collection '{name}' is there and no export made it: name another target")
    return Stamp.model_validate_json(text)


def missing(kind: str) -> UsageError:
    """The extra of a format is not installed."""
    return UsageError(f"--format {kind} needs an extra: pip install 'embedlake[{kind}]'")


def _json(value: Any) -> Any:
    if isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list):
        return [_json(one) for one in value]
    if isinstance(value, dict):
        return {name: _json(one) for name, one in value.items()}
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
