"""Rows into Parquet files that scan well: large row groups, statistics where they say something, zstd."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from operators.export.row_ids import Ids, packed
from operators.export.staged import StagedFile
from operators.storage import Storage, join
from schemas.export import ExportedFile

GROUP_BYTES = 64 << 20
"""Of a row group in memory: large enough to read well, small enough to hold one for each partition."""
FILE_BYTES = 512 << 20
_GROUP_ROWS = 1 << 17
_ENUMERATED = ("modality", "run_id", "uri")


@dataclass(frozen=True, slots=True)
class Written:
    """A finished file that nobody sees yet, the packed ids of its rows, and its footer."""

    file: ExportedFile
    ids: bytes
    staged: StagedFile
    footer: pq.FileMetaData


class PartWriter:
    """The files of one folder; rows come in batches with their ids, and are held until they fill a row group."""

    def __init__(
        self, storage: Storage, target: str, stem: str, schema: pa.Schema, file_bytes: int = FILE_BYTES
    ) -> None:
        self.written: list[Written] = []
        self._storage, self._target, self._stem, self._schema = storage, target, stem, schema
        self._file_bytes = file_bytes
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = 0
        self._held_rows = 0
        self._ids: list[Ids] = []
        self._open: tuple[StagedFile, pq.ParquetWriter] | None = None

    def write(self, ids: Ids, rows: pa.RecordBatch) -> None:
        """Take rows with the columns of the export, and their ids [rows]."""
        self._ids.append(ids)
        self._held.append(rows)
        self._held_bytes += rows.nbytes
        self._held_rows += rows.num_rows
        if self._held_bytes >= GROUP_BYTES or self._held_rows >= _GROUP_ROWS:
            self._flush()

    def finish(self) -> None:
        """End the file that is open."""
        self._flush()
        if self._open is not None:
            self._end(*self._open)

    def discard(self) -> None:
        """Leave nothing of what was written."""
        for one in self.written:
            one.staged.discard()
        if self._open is not None:
            staged, writer = self._open
            writer.is_open = False  # else it writes a footer when it is let go of
            staged.discard()

    def _flush(self) -> None:
        if not self._held_rows:
            return
        if self._open is None:
            self._open = self._begin()
        staged, writer = self._open
        writer.write_table(pa.Table.from_batches(self._held), row_group_size=self._held_rows)
        self._held, self._held_bytes, self._held_rows = [], 0, 0
        if staged.handle.tell() >= self._file_bytes:
            self._end(staged, writer)

    def _begin(self) -> tuple[StagedFile, pq.ParquetWriter]:
        staged = StagedFile(self._storage, join(self._target, self._name()))
        lists = {field.name for field in self._schema if pa.types.is_nested(field.type)}
        writer = pq.ParquetWriter(
            staged.handle,
            self._schema,
            compression="zstd",
            use_dictionary=[name for name in _ENUMERATED if name in self._schema.names],
            write_statistics=[name for name in self._schema.names if name not in lists],
            write_page_index=True,
        )
        return staged, writer

    def _end(self, staged: StagedFile, writer: pq.ParquetWriter) -> None:
        writer.close()
        staged.finish()
        footer = writer.writer.metadata
        footer.set_file_path(self._name())
        ids = np.concatenate(self._ids)
        file = ExportedFile(path=self._name(), rows=len(ids), bytes=staged.bytes)
        self.written.append(Written(file, packed(ids), staged, footer))
        self._ids, self._open = [], None

    def _name(self) -> str:
        return f"{self._stem}-{len(self.written):04d}.parquet"
