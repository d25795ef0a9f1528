"""Rows as a table of a LanceDB database, in a folder or on S3. `_lake_row` is the lake's row id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa
from lance.fragment import FragmentMetadata

from operators.export.databases.contract import Batches, parsed
from operators.export.row_ids import Ids, RowIdSet
from operators.lake.deletion import delete_rows
from operators.lake.files import remove_table
from operators.lake.tables import Table
from operators.storage import Storage, check_lake_uri, explained, join
from schemas.errors import LakeError
from schemas.export import EXPORT_KEY, Stamp

LAKE_ROW = "_lake_row"
_RUN = "export"


@contextmanager
def opened(target: str, name: str, options: Storage) -> Iterator[LanceDb]:
    """A table of the database at a URI.

    Raises:
        LakeError: storage refuses.
    """
    uri = check_lake_uri(target)
    with explained(uri, LakeError):
        yield LanceDb(Table(join(uri, f"{name}.lance"), options), name)


@dataclass(frozen=True, slots=True)
class LanceDb:
    """One table; its schema's metadata holds the stamp."""

    table: Table
    name: str

    def stamp(self) -> Stamp | None:
        """What the table holds."""
        names = self.table.storage.names(join(self.table.uri, "_versions"))
        if not any(name.endswith(".manifest") for name in names):
            return None
        text = (self.table.open().schema.metadata or {}).get(EXPORT_KEY)
        return parsed(text.decode() if text else None, self.name)

    def create(self, schema: pa.Schema, stamp: Stamp) -> None:
        """An empty table with the rows' schema and their ids."""
        remove_table(self.table.storage, self.table.uri)
        metadata = {**(schema.metadata or {}), EXPORT_KEY: stamp.model_dump_json().encode()}
        self.table.ensure(schema.append(pa.field(LAKE_ROW, pa.int64())).with_metadata(metadata))

    def ids(self) -> Iterator[Ids]:
        """The rows' ids, batch by batch."""
        yield from _ids(self.table.open())

    def apply(self, added: Batches, gone: Ids, stamp: Stamp) -> None:
        """All of it in one version."""
        head = self.table.open()
        schema, there = head.schema, _ids_of(head)

        def batches() -> Iterator[pa.RecordBatch]:
            for ids, rows in added:
                new = ~there.has(ids)  # another push may have ended since it was asked what is there
                columns = [*rows.columns, pa.array(ids.astype(np.int64))]
                yield pa.RecordBatch.from_arrays(columns, schema=schema).filter(pa.array(new))

        staged = self.table.stage(pa.RecordBatchReader.from_batches(schema, batches()))
        going = delete_rows(head, _addresses(head, gone))
        new = [FragmentMetadata.from_json(text) for text in staged]
        if new or going.removed or going.updated:
            head = self.table.open(self.table.replace(head, going, new, _RUN))
        head.update_schema_metadata({EXPORT_KEY.decode(): stamp.model_dump_json()})


def _ids(head: lance.LanceDataset) -> Iterator[Ids]:
    for batch in head.to_batches(columns=[LAKE_ROW]):
        yield batch.column(LAKE_ROW).to_numpy().astype(np.uint64)


def _ids_of(head: lance.LanceDataset) -> RowIdSet:
    there = RowIdSet()
    for ids in _ids(head):
        there.add(ids)
    return there


def _addresses(head: lance.LanceDataset, gone: Ids) -> Ids:
    if not len(gone):
        return gone
    wanted = RowIdSet()
    wanted.add(gone)
    found = []
    for batch in head.scanner(columns=[LAKE_ROW], with_row_address=True).to_batches():
        mask = wanted.has(batch.column(LAKE_ROW).to_numpy().astype(np.uint64))
        found.append(batch.column("_rowaddr").to_numpy()[mask])
    return np.concatenate([np.empty(0, np.uint64), *found])
