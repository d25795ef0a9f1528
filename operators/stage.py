"""Stage embedded rows: a Lance fragment that nobody sees yet, and the receipt that says what it holds."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from operators.lake.receipts import RECEIPT, Receipts
from operators.lake.tables import Table
from schemas.tables import MEDIA, SEGMENT_KIND

STAGED = pa.schema([pa.field("receipt", pa.string()), pa.field("segments", pa.int64())])


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRows:
    """Embedded rows in, one line for each receipt out. Safe to repeat: a batch has one receipt, by digest.

    Decoded media that are kept go to the table `media`, under the same receipt.
    """

    table: Table
    receipts: Receipts
    schema: pa.Schema
    run_id: str
    media: Table | None = None

    def __call__(self, rows: pa.Table) -> pa.Table:
        """One batch of embedded rows."""
        segments = rows.filter(pc.and_(pc.equal(rows["kind"], SEGMENT_KIND), pc.is_null(rows["error_code"])))
        fragments = self.table.stage(self._space_rows(segments)) if segments.num_rows else []
        name = self.receipts.write(rows.select(RECEIPT.names), fragments, self._keep(rows))
        return _staged(name, segments.num_rows)

    def earlier(self, rows: pa.Table) -> pa.Table | None:
        """The line of prepared rows that were staged before a crash: Ray repeats a whole task, embedded or not."""
        name = self.receipts.holds(rows)
        return (
            None if name is None else _staged(name, pc.sum(pc.equal(rows["kind"], SEGMENT_KIND)).as_py() or 0)
        )

    def _keep(self, rows: pa.Table) -> list[str]:
        kept = rows.filter(kept_mask(rows))
        if self.media is None or not kept.num_rows:
            return []
        return self.media.stage(kept.select(MEDIA.names).cast(MEDIA))

    def _space_rows(self, segments: pa.Table) -> pa.Table:
        own = segments.append_column("run_id", pa.array([self.run_id] * segments.num_rows, pa.string()))
        columns = [
            own[f.name] if f.name in own.column_names else metadata_column(segments, f) for f in self.schema
        ]
        return pa.table(columns, schema=self.schema)


def _staged(receipt: str, segments: int) -> pa.Table:
    return pa.table({"receipt": [receipt], "segments": [segments]}, schema=STAGED)


def kept_mask(rows: pa.Table) -> pa.ChunkedArray:
    """Which rows of a batch, or of its receipt, have a row in the prepared media."""
    return pc.and_(pc.fill_null(rows["kept"], False), pc.is_null(rows["error_code"]))


def metadata_column(rows: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    """A user's column out of the `metadata` struct, where rows have one with that field; else nulls."""
    if "metadata" in rows.column_names:
        kind = rows.schema.field("metadata").type
        if kind.get_field_index(field.name) >= 0:
            return pc.struct_field(rows["metadata"], field.name).cast(field.type)
    return pa.nulls(rows.num_rows, field.type)
