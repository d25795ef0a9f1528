"""Take assets out of a table of groups, with what the groups would still tell of them."""

from __future__ import annotations

from collections.abc import Iterator

import lance
import pyarrow as pa
import pyarrow.compute as pc

from operators.lake.erasure import ErasedTable, check_erased, erase
from operators.lake.tables import Table
from operators.lake.traces import Traces
from schemas.groups import METADATA_KEY, GroupKind, of

_ID = {GroupKind.DUPLICATES: "group_id", GroupKind.CLUSTERS: "cluster"}


def erase_any(table: Table, base: int, traces: Traces) -> ErasedTable:
    """As `operators.lake.erasure.erase`, also of a table of groups.

    A group of near-duplicates that one of the assets was in goes whole: its id may be a digest of the asset, and who
    is left may have no duplicate any more. A cluster loses the rows, and its label, which may be their words.

    Raises:
        ConflictError: another writer committed at the same time.
        LakeError: a row of them is left.
    """
    pinned = table.open(base)
    if METADATA_KEY not in (pinned.schema.metadata or {}):
        return erase(table, base, traces)
    kind = of(pinned.schema).kind
    touched = _touched(pinned, _ID[kind], traces)
    if not len(touched):
        return erase(table, base, traces)
    rows = pa.RecordBatchReader.from_batches(pinned.schema, _without(pinned, kind, touched, traces))
    head = table.open(table.overwrite(rows))
    check_erased(table, head, traces)
    return ErasedTable(int(head.version), pinned.count_rows() - head.count_rows())


def _touched(pinned: lance.LanceDataset, column: str, traces: Traces) -> pa.Array:
    """Ids of the groups that hold one of the assets."""
    uris = pa.array(traces.uris, pa.string())
    found = [
        batch[column].filter(pc.is_in(batch["uri"], uris))
        for batch in pinned.to_batches(columns=["uri", column])
    ]
    return pc.unique(pa.chunked_array(found, pinned.schema.field(column).type))


def _without(
    pinned: lance.LanceDataset, kind: GroupKind, touched: pa.Array, traces: Traces
) -> Iterator[pa.RecordBatch]:
    uris = pa.array(traces.uris, pa.string())
    for batch in pinned.to_batches():
        in_group = pc.is_in(batch[_ID[kind]], touched)
        if kind is GroupKind.DUPLICATES:
            yield batch.filter(pc.invert(in_group))
            continue
        label = pc.if_else(in_group, pa.scalar(None, pa.string()), batch["label"])
        told = batch.set_column(batch.schema.get_field_index("label"), batch.schema.field("label"), label)
        yield told.filter(pc.invert(pc.is_in(batch["uri"], uris)))
