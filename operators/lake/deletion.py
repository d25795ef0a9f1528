"""Which rows of a table belong to a set of assets, and the fragments without them; nothing is committed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from lance.fragment import FragmentMetadata

if TYPE_CHECKING:
    import polars as pl

_CHUNK_ROWS = 1 << 19
_WRITERS = 16
_OFFSET_BITS = 32
_OFFSET_MASK = (1 << _OFFSET_BITS) - 1
_ADDRESS = "_rowaddr"

Uris: TypeAlias = "Sequence[str] | pl.Series"


@dataclass(frozen=True, slots=True)
class Deletion:
    """A table's fragments after rows went: ids of those with none left, and the others with deletion files."""

    removed: list[int]
    updated: list[FragmentMetadata]


def delete_assets(table: lance.LanceDataset, uris: Uris) -> Deletion:
    """Stage the deletion of every row of these assets.

    Only the uri column is read, in one stream; what is held is the URIs and 8 bytes for each row that goes.
    """
    return delete_rows(table, row_addresses(table, uris)) if len(uris) else Deletion([], [])


def delete_rows(table: lance.LanceDataset, addresses: npt.NDArray[np.uint64]) -> Deletion:
    """Stage the deletion of rows by their addresses [rows], in any order."""
    addresses = np.sort(addresses)
    ids, starts = np.unique(addresses >> _OFFSET_BITS, return_index=True)
    offsets = np.split(addresses & _OFFSET_MASK, starts[1:])
    fragments = {f.fragment_id: f for f in table.get_fragments()}

    def shrink(fragment_id: int, rows: npt.NDArray[np.uint64]) -> FragmentMetadata | None:
        fragment = fragments[fragment_id]
        return None if fragment.metadata.num_rows == len(rows) else fragment.delete_rows(rows)

    with ThreadPoolExecutor(_WRITERS) as pool:
        shrunk = list(pool.map(shrink, ids.tolist(), offsets))
    removed = [i for i, kept in zip(ids.tolist(), shrunk, strict=True) if kept is None]
    return Deletion(removed, [kept for kept in shrunk if kept is not None])


def row_addresses(table: lance.LanceDataset, uris: Uris) -> npt.NDArray[np.uint64]:
    """Addresses (fragment id << 32 | offset) of the rows of these assets, in no order."""
    import polars as pl  # no worker needs it

    wanted = pl.DataFrame({"uri": pl.Series(uris, dtype=pl.String)}).unique()
    found = [
        pl.DataFrame(pl.from_arrow(chunk)).join(wanted, on="uri", how="semi")[_ADDRESS].to_numpy()
        for chunk in _chunks(table)
    ]
    return np.concatenate([np.empty(0, np.uint64), *found])


def _chunks(table: lance.LanceDataset) -> Iterator[pa.Table]:
    """The uri column with addresses, many small fragments at a time: a join hashes the URIs once for each chunk."""
    scanner = table.scanner(columns=["uri"], with_row_address=True, scan_in_order=False)
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in scanner.to_batches():
        held.append(batch)
        rows += batch.num_rows
        if rows >= _CHUNK_ROWS:
            yield pa.Table.from_batches(held)
            held, rows = [], 0
    if held:
        yield pa.Table.from_batches(held)
