"""How far a search has to look in an index, measured with a table's own rows as queries."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.lake.indices import partitions
from pipelines.finding import asked_of, ef
from pipelines.vectors import matrix
from schemas.corpus import Finder
from schemas.space import IndexKind, embedding_column

K, QUERIES = 10, 200
RECALL = 0.98
_CANDIDATES = (2, 5, 10, 20, 40)
_SHARES = (256, 128, 64, 32, 16, 8, 4, 2, 1)
"""One of so many partitions is probed."""
_RANKED = 20
"""To read a candidate's full vector costs about as much as to compare so many codes."""
_BATCH = 8192
_TIE = 1e-6
Rows = npt.NDArray[np.uint64]
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Truth:
    """Rows drawn as queries, float32 `[queries, dim]`, their ids, and those of their nearest others, `[queries, k]`."""

    queries: Vectors
    own: Rows
    nearest: Rows

    @classmethod
    def of(cls, table: lance.LanceDataset, dim: int, seed: int = 0) -> Truth:
        """Compare the drawn rows with every row, a batch at a time.

        A row whose k-th neighbour is as near as the next is left out, where others are: which is meant is not known.
        """
        rows, column = table.count_rows(), embedding_column(dim)
        drawn = np.sort(np.random.default_rng(seed).choice(rows, min(QUERIES, rows), replace=False))
        found = table.take(drawn.tolist(), columns=[column, "_rowid"])
        queries, own = matrix(found[column], dim), found["_rowid"].to_numpy()
        k = min(K, rows - 1)
        more = min(k + 1, rows - 1)
        scores = np.full((len(own), more), -np.inf, np.float32)
        best = np.zeros((len(own), more), np.uint64)
        for ids, vectors in _batches(table, column, dim):
            near = queries @ vectors.T
            near[own[:, None] == ids[None, :]] = -np.inf
            scores, best = _merged(scores, best, near, ids, more)
        order = np.argsort(-scores, axis=1, kind="stable")
        scores, best = np.take_along_axis(scores, order, 1), np.take_along_axis(best, order, 1)
        told = scores[:, k - 1] - scores[:, more - 1] > _TIE if more > k else np.full(len(own), True)
        kept = told if told.any() else np.full(len(own), True)
        return cls(queries[kept], own[kept], best[kept, :k])


def measured(
    table: lance.LanceDataset, width: int, kind: IndexKind, truth: Truth, recall: float = RECALL
) -> Finder:
    """The cheapest way to look in a width's index that reaches the recall; the best one where none does."""
    rows, k = table.count_rows(), truth.nearest.shape[1]
    parts = partitions(rows, kind)
    tried: list[tuple[float, Finder]] = []
    for probes in sorted({max(1, math.ceil(parts / share)) for share in _SHARES}):
        most = min(_CANDIDATES[-1] * k, rows - 1)
        found = [
            _found(table, width, probes, most, query, own)
            for query, own in zip(truth.queries, truth.own, strict=True)
        ]
        for candidates in _CANDIDATES:
            share = [
                np.isin(t, f[: candidates * k]).mean() for t, f in zip(truth.nearest, found, strict=True)
            ]
            finder = Finder(
                width=width,
                kind=kind,
                partitions=parts,
                probes=probes,
                candidates=candidates,
                k=k,
                queries=len(found),
                rows=rows,
                recall=float(np.mean(share)),
            )
            cost = rows * probes / parts + _RANKED * candidates * k
            tried.append((cost, finder))
        good = [(cost, finder) for cost, finder in tried if finder.recall >= recall]
        if good:
            return min(good, key=lambda one: one[0])[1]
    return max(tried, key=lambda one: (one[1].recall, -one[0]))[1]


def _found(
    table: lance.LanceDataset, width: int, probes: int, most: int, query: Vectors, own: np.uint64
) -> Rows:
    """Ids of what the index finds, nearest first, without the query's own row."""
    nearest = {
        **asked_of(table, query, width),
        "k": most + 1,
        "minimum_nprobes": probes,
        "maximum_nprobes": probes,
        "ef": ef(most + 1),
    }
    scan = table.scanner(
        columns=["_distance"], nearest=nearest, with_row_id=True, disable_scoring_autoprojection=True
    )
    ids = scan.to_table()["_rowid"].to_numpy()
    return np.asarray(ids[ids != own][:most])


def _batches(table: lance.LanceDataset, column: str, dim: int) -> Iterator[tuple[Rows, Vectors]]:
    for batch in table.to_batches(columns=[column], with_row_id=True, batch_size=_BATCH):
        rows = pa.Table.from_batches([batch])
        yield rows["_rowid"].to_numpy(), matrix(rows[column], dim)


def _merged(scores: Vectors, best: Rows, near: Vectors, ids: Rows, k: int) -> tuple[Vectors, Rows]:
    every = np.concatenate([scores, near], axis=1)
    order = np.argpartition(-every, k - 1, axis=1)[:, :k]
    names = np.concatenate([best, np.broadcast_to(ids, near.shape)], axis=1)
    return np.take_along_axis(every, order, axis=1), np.take_along_axis(names, order, axis=1)
