"""Rank a gallery for each query and score the ranking by ir-measures, with bootstrapped intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import ir_measures
import numpy as np
import numpy.typing as npt
from ir_measures import RR, R, nDCG

from pipelines.vectors import unit

Vectors = npt.NDArray[np.float32]

Measure = Literal["R@1", "R@10", "nDCG@10", "MRR@10"]
MEASURES: dict[Measure, Any] = {"R@1": R @ 1, "R@10": R @ 10, "nDCG@10": nDCG @ 10, "MRR@10": RR @ 10}
_DEPTH = 10
_RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Score:
    """A mean over queries and the 95 % interval of that mean."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True, slots=True)
class Result:
    """The scores of one task; `chance` is R@10 of a random order."""

    queries: int
    gallery: int
    chance: float
    scores: dict[Measure, Score]


def evaluate(queries: Vectors, gallery: Vectors, relevant: Sequence[set[int]], seed: int = 0) -> Result:
    """Score cosine retrieval.

    Args:
        queries: float32 `[queries, dim]`, of any length.
        gallery: float32 `[gallery, dim]`, of any length.
        relevant: for each query the gallery rows that answer it; at least one.
        seed: of the bootstrap.
    """
    scores = per_query(queries, gallery, relevant)
    found = {name: interval(values, seed) for name, values in scores.items()}
    size = len(gallery)
    return Result(len(queries), size, min(1.0, _DEPTH / size), found)


def per_query(
    queries: Vectors, gallery: Vectors, relevant: Sequence[set[int]]
) -> dict[Measure, npt.NDArray[np.float64]]:
    """Each measure for each query, in the queries' order: float64 `[queries]`."""
    return ranked(cosines(queries, gallery), relevant)


def cosines(queries: Vectors, gallery: Vectors) -> Vectors:
    """Of vectors of any length: float32 `[queries, gallery]`."""
    return np.asarray(unit(queries) @ unit(gallery).T, np.float32)


def ranked(
    similarity: npt.NDArray[np.floating[Any]], relevant: Sequence[set[int]]
) -> dict[Measure, npt.NDArray[np.float64]]:
    """As `per_query`, of scores `[queries, gallery]`; equal ones are ranked in the gallery's order."""
    depth = min(_DEPTH, similarity.shape[1])
    top = np.argsort(-similarity, axis=1, kind="stable")[:, :depth]
    run = {str(q): {str(d): float(similarity[q, d]) for d in row} for q, row in enumerate(top)}
    qrels = {str(q): {str(d): 1 for d in rows} for q, rows in enumerate(relevant)}
    names = {str(measure): name for name, measure in MEASURES.items()}
    values = {name: np.zeros(len(similarity)) for name in MEASURES}
    for metric in ir_measures.iter_calc(list(MEASURES.values()), qrels, run):
        values[names[str(metric.measure)]][int(metric.query_id)] = metric.value
    return values


def interval(values: npt.NDArray[np.float64], seed: int = 0) -> Score:
    """The mean and its 95 % interval by resampling queries."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(values), (_RESAMPLES, len(values)))
    low, high = np.percentile(values[picks].mean(1), [2.5, 97.5])
    return Score(float(values.mean()), float(low), float(high))
