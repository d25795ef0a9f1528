"""Sets of Lance's stable row ids: a row keeps its id through compaction, and a changed row gets another one."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from lance.fragment import LanceFragment

ROW_ID = "_rowid"
Ids = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]
_ROWS = 1024
_AHEAD = 2
_AHEAD_BYTES = 64 << 20


class RowIdSet:
    """A growing set of row ids, one byte for each id up to the largest: ids are given out densely, from 0."""

    def __init__(self) -> None:
        self._mask: Mask = np.zeros(0, bool)

    def add(self, ids: Ids) -> None:
        """Put ids into the set."""
        if len(ids) == 0:
            return
        most = int(ids.max()) + 1
        if most > len(self._mask):
            grown = np.zeros(max(most, 2 * len(self._mask)), bool)
            grown[: len(self._mask)] = self._mask
            self._mask = grown
        self._mask[ids] = True

    def has(self, ids: Ids) -> Mask:
        """Which of `ids` [n] are in the set, bool `[n]`."""
        if len(self._mask) == 0:
            return np.zeros(len(ids), bool)
        last = np.uint64(len(self._mask) - 1)
        return np.asarray(self._mask[np.minimum(ids, last)] & (ids <= last))


def fragment_ids(fragment: LanceFragment) -> Ids:
    """The ids of a fragment's rows, in their order, without those of deleted rows; no column is read."""
    batches = fragment.scanner(columns=[], with_row_id=True).to_batches()
    return np.concatenate([np.empty(0, np.uint64), *(batch.column(ROW_ID).to_numpy() for batch in batches)])


@dataclass(frozen=True, slots=True)
class Difference:
    """What a table has beyond a set: `added` rows of `fragments`; `now` are the ids of all of its rows."""

    now: RowIdSet
    fragments: list[LanceFragment]
    added: int


def difference(table: lance.LanceDataset, held: RowIdSet) -> Difference:
    """What a table has that is not in `held`, by its row ids alone."""
    now, fragments, added = RowIdSet(), [], 0
    for fragment in table.get_fragments():
        ids = fragment_ids(fragment)
        now.add(ids)
        if new := int((~held.has(ids)).sum()):
            fragments.append(fragment)
            added += new
    return Difference(now, fragments, added)


def rows_of(
    fragments: Iterable[LanceFragment], columns: list[str], held: RowIdSet
) -> Iterator[tuple[Ids, pa.RecordBatch]]:
    """The rows of these fragments that are not in `held`, with their ids, some at a time."""
    for fragment in fragments:
        scanner = fragment.scanner(
            columns=columns,
            with_row_id=True,
            batch_size=_ROWS,
            batch_readahead=_AHEAD,
            io_buffer_size=_AHEAD_BYTES,  # 2 GiB unasked
        )
        for batch in scanner.to_batches():
            ids = batch.column(ROW_ID).to_numpy()
            new = ~held.has(ids)
            if new.any():
                wanted = batch.drop_columns([ROW_ID])
                yield ids[new], wanted if new.all() else wanted.filter(pa.array(new))


def packed(ids: Ids) -> bytes:
    """Ids in their order, as a Parquet file of the steps between them: those of a fragment take next to nothing."""
    out = io.BytesIO()
    pq.write_table(
        pa.table({ROW_ID: pa.array(ids, pa.uint64())}),
        out,
        compression="zstd",
        use_dictionary=False,
        column_encoding="DELTA_BINARY_PACKED",
    )
    return out.getvalue()


def unpacked(body: bytes) -> Ids:
    """What `packed` packed.

    Raises:
        pa.ArrowInvalid: it is something else.
    """
    # In this thread: another that lets go of Python's bytes while the process ends would abort it.
    table = pq.ParquetFile(pa.BufferReader(body), pre_buffer=False).read(use_threads=False)
    return np.asarray(table[ROW_ID].to_numpy(), np.uint64)
