"""Find a table's nearest rows: in an index over a narrow width, ranked by the full one; by words, too, where asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import lance
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.lake.indices import indexed_columns
from pipelines.vectors import matrix, unit
from schemas.corpus import Finder
from schemas.space import embedding_column, plain_columns

Vector = npt.NDArray[np.float32]
_ROW = "_rowid"
SCORE, FUSED = "_score", "_fused"
"""The cosine with the query; and what reciprocal rank fusion makes of that order and the words' one."""
_RRF = 60
"""The constant of reciprocal rank fusion (Cormack, Clarke, Büttcher, SIGIR 2009)."""
_LEAST_EF = 800
"""A search is never walked more narrowly than the one that was measured."""
_FUSED_CANDIDATES = 5
"""Rows of either order that are fused, for each hit."""
FEW = 20_000
"""So many rows are compared as quickly as an index is read."""
_NO_INDEX: dict[str, bool | int] = {"use_index": False}
_ROWS_AN_ASSET = 4
"""Rows that are looked at for each asset, at first; and how much more each time that they were too few."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One read of a search: what it looked at, how many rows came out, what it read, and how long it took."""

    stage: str
    over: str
    rows: int
    bytes_read: int
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is looked for. `vector` is the query's, float32 `[dim]`; `width` is that by which rows are ranked."""

    vector: Vector
    width: int
    limit: int
    words: str | None = None
    filter: str | None = None


@dataclass(slots=True)
class Find:
    """One search of a table at a version, with the rows' `vectors` if asked; `stages` tells what it took."""

    table: lance.LanceDataset
    finder: Finder | None
    vectors: bool = False
    stages: list[Stage] = field(default_factory=list)

    def __call__(self, wanted: Wanted) -> pa.Table:
        """The best rows, best first: with `_score`, and `_fused` where words were given.

        Raises:
            ValueError: Lance refuses the filter.
            OSError: the table cannot be read.
        """
        finder = self._finder(wanted)
        if finder is None and wanted.words is None:
            return self._every_row(wanted)
        near = self._near(wanted, finder)
        words = self._words(wanted) if wanted.words is not None else []
        ranked = self._ranked(wanted, list(dict.fromkeys([*near, *words])))
        best = _fused(ranked, words) if wanted.words is not None else ranked
        return self._read(best.slice(0, wanted.limit))

    def _finder(self, wanted: Wanted) -> Finder | None:
        """The index' finder, where it is worth it: not for a narrower width, for few rows or for most of them."""
        finder = self.finder
        if finder is None or finder.width > wanted.width:
            return None
        if _shortlist(wanted, finder) > max(FEW, finder.rows // 10):
            return None
        # What a filter leaves lies anywhere: its nearest rows need not be where a shortlist of all rows is.
        return None if wanted.filter and self.table.count_rows(wanted.filter) <= FEW else finder

    def of_assets(self, wanted: Wanted) -> pa.Table:
        """As a call, but of each asset its best row alone: more is looked at until there are enough assets.

        Raises:
            ValueError: Lance refuses the filter.
            OSError: the table cannot be read.
        """
        asked = wanted.limit * _ROWS_AN_ASSET
        while True:
            found = self(replace(wanted, limit=asked))
            first = np.sort(np.unique(found["uri"].to_numpy(), return_index=True)[1])
            if len(first) >= wanted.limit or found.num_rows < asked:
                return found.take(first[: wanted.limit])
            asked *= _ROWS_AN_ASSET

    def _every_row(self, wanted: Wanted) -> pa.Table:
        found = self._scan(
            "scan",
            f"every row's {embedding_column(wanted.width)}",
            columns=[*self._columns(), "_distance"],
            nearest={**asked_of(self.table, wanted.vector, wanted.width), "k": wanted.limit, **_NO_INDEX},
            filter=wanted.filter,
        )
        score = pc.subtract(pa.scalar(1.0, pa.float32()), found["_distance"])
        return found.drop_columns(["_distance"]).append_column(SCORE, score)

    def _near(self, wanted: Wanted, finder: Finder | None) -> list[int]:
        """Row ids of the candidates, nearest first."""
        if finder is None:
            k, width, how = wanted.limit * _FUSED_CANDIDATES, wanted.width, _NO_INDEX
            over = f"every row's {embedding_column(width)}"
        else:
            k, width = _shortlist(wanted, finder), finder.width
            how = {"minimum_nprobes": finder.probes, "ef": ef(k)}
            over = f"{finder.kind} of {embedding_column(width)}, {finder.probes} of {finder.partitions} partitions"
        found = self._scan(
            "find",
            over,
            columns=["_distance"],
            nearest={**asked_of(self.table, wanted.vector, width), "k": k, **how},
            filter=wanted.filter,
            with_row_id=True,
        )
        return list(found[_ROW].to_pylist())

    def _words(self, wanted: Wanted) -> list[int]:
        """Row ids of what matches the words, best first."""
        from lance.query import MatchQuery

        found = self._scan(
            "words",
            "full-text index" if "text" in indexed_columns(self.table) else "every row's text",
            columns=["_score"],
            full_text_query=MatchQuery(wanted.words or "", "text"),
            filter=wanted.filter,
            limit=wanted.limit * _FUSED_CANDIDATES,
            with_row_id=True,
        )
        return list(found[_ROW].to_pylist())

    def _ranked(self, wanted: Wanted, rows: Sequence[int]) -> pa.Table:
        """The rows with their cosine, best first: `_rowid`, `_score`."""
        column = embedding_column(wanted.width)
        found = self._take("rank", column, rows, [column])
        vectors = matrix(found[column], wanted.width)
        scores = vectors @ cut(wanted.vector, wanted.width)
        order = np.lexsort((found[_ROW].to_numpy(), -scores))
        return pa.table({_ROW: found[_ROW].take(order), SCORE: pa.array(scores[order], pa.float32())})

    def _read(self, best: pa.Table) -> pa.Table:
        found = self._take("read", "the hits' other columns", best[_ROW].to_pylist(), self._columns())
        order = pc.index_in(best[_ROW], found[_ROW].combine_chunks())
        hits = found.take(order).drop_columns([_ROW])
        for name in best.column_names[1:]:
            hits = hits.append_column(name, best[name])
        return hits

    def _take(self, stage: str, over: str, rows: Sequence[int], columns: list[str]) -> pa.Table:
        among = f"{_ROW} IN ({', '.join(map(str, rows))})" if rows else "false"
        return self._scan(stage, over, columns=columns, filter=among, with_row_id=True)

    def _scan(self, stage: str, over: str, **how: Any) -> pa.Table:
        read: list[int] = []
        started = time.perf_counter()
        found = self.table.scanner(
            prefilter=True,
            scan_stats_callback=lambda stats: read.append(stats.bytes_read),
            disable_scoring_autoprojection=True,
            **how,
        ).to_table()
        ms = 1000 * (time.perf_counter() - started)
        self.stages.append(Stage(stage, over, found.num_rows, sum(read), ms))
        return found

    def _columns(self) -> list[str]:
        return list(self.table.schema.names) if self.vectors else plain_columns(self.table.schema)


def asked_of(table: lance.LanceDataset, vector: Vector, width: int) -> dict[str, Any]:
    """What Lance is asked to be near to: a vector `[dim]` at a width, in the type of the width's column."""
    column = embedding_column(width)
    asked = pa.array(cut(vector, width)).cast(table.schema.field(column).type.value_type)
    return {"column": column, "q": asked, "metric": "cosine"}


def _shortlist(wanted: Wanted, finder: Finder) -> int:
    """How many rows come out of an index: as many for a hit as it was measured with, and never for fewer hits."""
    least = 1 if wanted.words is None else _FUSED_CANDIDATES
    return max(wanted.limit, finder.k) * max(finder.candidates, least)


def ef(k: int) -> int:
    """How many candidates a graph keeps while it is walked for `k` rows; an index without a graph has none."""
    return max(_LEAST_EF, 2 * k)


def cut(vector: Vector, width: int) -> Vector:
    """A vector `[dim]` at a width, `[width]`, a unit vector as the width's column has them."""
    return np.asarray(unit(vector[None, :width])[0], np.float32)


def _fused(ranked: pa.Table, words: Sequence[int]) -> pa.Table:
    """The rows by reciprocal rank fusion of their cosines' order with that of the words."""
    by_cosine = 1.0 / (_RRF + 1 + np.arange(ranked.num_rows))
    place = {row: at for at, row in enumerate(words)}
    by_words = [1.0 / (_RRF + 1 + place[row]) if row in place else 0.0 for row in ranked[_ROW].to_pylist()]
    fused = by_cosine + np.array(by_words)
    order = np.argsort(-fused, kind="stable")
    return ranked.take(order).append_column(FUSED, pa.array(fused[order], pa.float32()))
