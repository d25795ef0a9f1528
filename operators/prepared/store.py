"""The table of a corpus' prepared media, read by the places of its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import lance
import pyarrow as pa

from operators.lake.tables import Table
from operators.storage import explained
from schemas.errors import LakeError

_ROWS = 32
"""Read together: of videos some 20 MB."""
_MEDIA = "kept_media"


@dataclass(frozen=True, slots=True)
class Prepared:
    """One version of the table."""

    table: Table
    version: int

    def open(self) -> lance.LanceDataset:
        """The table at the version.

        Raises:
            LakeError: there is none.
        """
        return _open(self.table, self.version)

    def rows(self, places: Sequence[int]) -> Iterator[dict[str, Any]]:
        """The rows at these offsets, in this order, their media as buffers; the next ones are read meanwhile.

        Raises:
            LakeError: the table cannot be read.
        """
        chunks = [places[start : start + _ROWS] for start in range(0, len(places), _ROWS)]
        with ThreadPoolExecutor(1) as ahead:
            waiting = [ahead.submit(self._take, chunk) for chunk in chunks[:1]]
            for chunk in [*chunks[1:], None]:
                with explained(self.table.uri, LakeError):
                    rows = waiting.pop().result() if waiting else None
                if chunk is not None:
                    waiting.append(ahead.submit(self._take, chunk))
                if rows is not None:
                    yield from _records(rows)

    def _take(self, places: Sequence[int]) -> pa.Table:
        return self.open().take(list(places))


@lru_cache(4)
def _open(table: Table, version: int) -> lance.LanceDataset:
    return table.open(version)


def _records(rows: pa.Table) -> Iterator[dict[str, Any]]:
    media = (value.as_buffer() for value in rows[_MEDIA])
    for row, body in zip(rows.drop_columns([_MEDIA]).to_pylist(), media, strict=True):
        yield {**row, _MEDIA: body}
