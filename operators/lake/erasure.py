"""Take assets out of a table so that none of its newest version's files holds anything of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import lance
import polars as pl
import pyarrow as pa
from lance.fragment import FragmentMetadata, LanceFragment

from operators.lake.compaction import rewrite
from operators.lake.deletion import Uris, delete_assets
from operators.lake.tables import Table
from operators.lake.traces import Traces
from schemas.errors import LakeError

_ERASURE = "erasure"
_DETAIL = "error_detail"
_READERS = 8
_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class ErasedTable:
    """A table's version without the assets, and how many rows it has less."""

    version: int
    rows: int


def erase(table: Table, base: int, traces: Traces) -> ErasedTable:
    """A newest version of `table`: `base` without these assets, whose files hold nothing of them.

    Rows that an earlier run deleted are still in their data file, so fragments are searched for those too.
    An error of another asset that names one of these is rewritten. Older versions keep their files;
    `operators.lake.sweep` removes them.

    Raises:
        ConflictError: another writer committed at the same time.
        LakeError: a row of them is left, or the table has no column `uri`.
    """
    head = table.on_top(base)
    if "uri" not in head.schema.names:
        raise LakeError(f"{table.uri} has no column uri, so nothing can be erased from it: remove that table")
    before = head.count_rows()
    told = _telling(head, traces)
    touched = pl.Series([*traces.uris, *told["uri"].to_pylist()], dtype=pl.String)
    gone = delete_assets(head, touched)
    if gone.removed or gone.updated:
        staged = table.stage(told) if told.num_rows else []
        new = [FragmentMetadata.from_json(text) for text in staged]
        head = table.open(table.replace(head, gone, new, _ERASURE))
    head = table.open(rewrite(table, head, set(_fragments_to_rewrite(head, touched))))
    check_erased(table, head, traces)
    return ErasedTable(int(head.version), before - head.count_rows())


def check_erased(table: Table, head: lance.LanceDataset, traces: Traces) -> None:
    """Look for the assets in every data file of a version.

    Raises:
        LakeError: one is left.
    """
    uris = pl.Series(traces.uris, dtype=pl.String)
    left = len(list(fragments_holding(head, uris))) + _telling(head, traces).num_rows
    if left:
        raise LakeError(f"{table.uri} still holds forgotten assets in {left} places: run the command again")


def _telling(head: lance.LanceDataset, traces: Traces) -> pa.Table:
    """Rows of other assets whose error names one of these, with the name taken out."""
    if _DETAIL not in head.schema.names:
        return head.schema.empty_table()
    rows = head.to_table(filter=f"{_DETAIL} IS NOT NULL")
    frame = pl.DataFrame({"uri": pl.Series(rows["uri"]), _DETAIL: pl.Series(rows[_DETAIL])}).with_row_index()
    naming = pl.col(_DETAIL).str.contains_any(traces.patterns) & ~pl.col("uri").is_in(traces.values)
    found = frame.filter(naming)
    told = rows.take(found["index"].to_arrow())
    clean = traces.redacted(found[_DETAIL]).to_arrow().cast(pa.string())
    column = told.schema.get_field_index(_DETAIL)
    return told.set_column(column, told.schema.field(column), clean)


def _fragments_to_rewrite(head: lance.LanceDataset, uris: pl.Series) -> Iterator[int]:
    """In a table of assets deleted rows may tell of others, so each fragment with some is rewritten."""
    if _DETAIL in head.schema.names:
        yield from (f.fragment_id for f in head.get_fragments() if f.num_deletions)
    yield from fragments_holding(head, uris)


def fragments_holding(dataset: lance.LanceDataset, uris: Uris) -> Iterator[int]:
    """Ids of the fragments with a row of these assets in their data files, deleted or not."""
    wanted = pl.DataFrame({"uri": pl.Series(uris, dtype=pl.String)}).unique()

    def holds(fragment: LanceFragment) -> bool:
        scanner = fragment.scanner(
            columns=["uri"], with_row_id=True, include_deleted_rows=True, batch_size=_ROWS
        )
        return any(
            pl.DataFrame(pl.from_arrow(batch)).join(wanted, on="uri", how="semi").height
            for batch in scanner.to_batches()
        )

    fragments = dataset.get_fragments()
    with ThreadPoolExecutor(_READERS) as pool:
        for fragment, found in zip(fragments, pool.map(holds, fragments), strict=True):
            if found:
                yield fragment.fragment_id
