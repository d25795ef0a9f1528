"""Receipts: what a staged fragment holds, written after it and atomically, so that a dead run can be resumed."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from operators.storage import Storage, join
from schemas.tables import KEPT, PREPARED

if TYPE_CHECKING:
    import polars as pl

FRAGMENTS_KEY = b"embedlake.fragments"
KEPT_KEY = b"embedlake.kept"
_NOT_IN_RECEIPT = ("parts", "text", *(field.name for field in KEPT))
RECEIPT = pa.schema([f for f in PREPARED if f.name not in _NOT_IN_RECEIPT])
"""A receipt's columns: every segment that was staged (or failed in the model), and asset outcomes."""
_READERS = 16
_NAMING = ["uri", "error_detail"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """One batch that was staged: its rows without media and vectors, and its fragments' metadata as JSON.

    `fragments` are of the space, `kept` of the corpus' prepared media.
    """

    name: str
    rows: pa.Table
    fragments: list[str]
    kept: list[str]


@dataclass(frozen=True, slots=True)
class Staged:
    """A receipt by its URI, the names of its fragments' data files, and its rows' `uri` and `error_detail`."""

    uri: str
    files: list[str]
    rows: pl.DataFrame


@dataclass(frozen=True, slots=True)
class Receipts:
    """The receipts of one run, in one folder."""

    uri: str
    storage: Storage

    def key(self, rows: pa.Table) -> str:
        """The receipt's name: a digest of what the batch holds, so the same batch has one receipt."""
        state = hashlib.sha256()
        for name in ("uri", "segment_id", "error_code"):
            for value in rows[name].to_pylist():
                state.update(f"{value}\n".encode())
        return state.hexdigest()[:32]

    def write(self, rows: pa.Table, fragments: Sequence[str], kept: Sequence[str] = ()) -> str:
        """Persist a receipt; its name is returned."""
        named = {FRAGMENTS_KEY: fragments, KEPT_KEY: kept}
        table = rows.select(RECEIPT.names).cast(RECEIPT)
        table = table.replace_schema_metadata({k: json.dumps(list(v)).encode() for k, v in named.items()})
        out = io.BytesIO()
        pq.write_table(table, out, compression="zstd")
        name = f"{self.key(rows)}.parquet"
        self.storage.put(join(self.uri, name), out.getvalue())
        return name

    def holds(self, rows: pa.Table) -> str | None:
        """The name of the receipt that says these very rows were staged, if there is one."""
        name = f"{self.key(rows)}.parquet"
        try:
            earlier = self._read(name).rows
        except FileNotFoundError:
            return None
        return name if earlier.equals(rows.select(RECEIPT.names).cast(RECEIPT)) else None

    def names(self) -> list[str]:
        """The names of the run's receipts."""
        return [n for n in self.storage.names(self.uri) if n.endswith(".parquet")]

    def read_all(self) -> list[Receipt]:
        """Every receipt of the run, by name."""
        with ThreadPoolExecutor(_READERS) as pool:
            return list(pool.map(self._read, self.names()))

    def staged(self) -> Iterator[Staged]:
        """What each receipt, by name, stands for; a few are held at a time."""
        names = self.names()
        for start in range(0, len(names), _READERS):
            with ThreadPoolExecutor(_READERS) as pool:
                yield from pool.map(self._staged, names[start : start + _READERS])

    def _read(self, name: str) -> Receipt:
        table = pq.read_table(io.BytesIO(self.storage.read(join(self.uri, name))))
        staged = (_fragments(table.schema, key) for key in (FRAGMENTS_KEY, KEPT_KEY))
        return Receipt(name, table.replace_schema_metadata(None), *staged)

    def _staged(self, name: str) -> Staged:
        import polars as pl  # no worker needs it

        table = pq.read_table(io.BytesIO(self.storage.read(join(self.uri, name))), columns=_NAMING)
        staged = (text for key in (FRAGMENTS_KEY, KEPT_KEY) for text in _fragments(table.schema, key))
        files = [file["path"] for text in staged for file in json.loads(text)["files"]]
        return Staged(join(self.uri, name), files, pl.DataFrame(pl.from_arrow(table)).unique())


def _fragments(schema: pa.Schema, key: bytes) -> list[str]:
    fragments: list[str] = json.loads((schema.metadata or {})[key])
    return fragments
