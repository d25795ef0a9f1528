"""How good search stays while a corpus moves from one model to another: merged by calibration, by rank, or not at all.

The gallery is moved in a seeded order up to a share of it. What has moved is ranked by the new model, the rest by the
old one, as `pipelines.migration` does it: the calibration is fitted for each query on a sample of what has moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from pipelines.bridge import LEAST, Bridge, joint
from pipelines.calibration import Calibration
from pipelines.evaluation.retrieval import Vectors, cosines, interval, ranked
from pipelines.evaluation.sets import SETS, RetrievalSet, build
from pipelines.evaluation.systems import Systems
from pipelines.vectors import unit
from schemas.card import Frozen, Role

if TYPE_CHECKING:
    from operators.model.contract import ModelSpec

SAMPLE = 500
RERANK = (20, 50)
SEEDS = (0, 1, 2)
FULL, OLD, NEW_HALF, FUSION, MERGED = "new, all moved", "old alone", "new alone", "rank fusion", "calibrated"
BRIDGED = "calibrated, bridged"
_RRF_K = 60
Scores = npt.NDArray[np.float64]


class MigrationLine(Frozen):
    """nDCG@10 of one way to search one set, the mean over queries and orders, with its 95 % interval."""

    task: str
    way: str
    ndcg_at_10: float
    low: float
    high: float


class MigrationReport(Frozen):
    """A migration of every set, `share` of its gallery moved; `means` and `kept` are over sets.

    `kept` is the share of what the new model reaches with everything moved: of the means, not a mean of shares.
    """

    old: str
    new: str
    share: float
    seeds: tuple[int, ...]
    lines: tuple[MigrationLine, ...]
    means: dict[str, float]
    kept: dict[str, float]


def migrate(
    old: ModelSpec,
    new: ModelSpec,
    data: Path,
    names: Sequence[str] = (),
    *,
    share: float = 0.5,
    seeds: Sequence[int] = SEEDS,
    rerank: Sequence[int] = RERANK,
    most: int | None = None,
    threads: int | None = None,
    watch: Callable[[str], None] = lambda _: None,
) -> MigrationReport:
    """Each set in each way.

    Args:
        old: the model that is left.
        new: the model that is moved to.
        data: folder of the sets, as for `pipelines.evaluation.run`.
        names: sets, all of them when empty.
        share: of the gallery that has moved.
        seeds: of the orders in which it moves, and of the samples.
        rerank: how many of the old half's best are embedded by the new model, a way for each.
        most: queries of a set, the set's own number when None.
        threads: of the CPU, all when None.
        watch: told what is being done.

    Raises:
        UsageError: an unknown set.
        SourceError: data that cannot be fetched or made.
        ModelError: a model that cannot be loaded or does not take a set's media.
    """
    systems = [Systems(spec, data, threads).model for spec in (old, new)]
    lines: list[MigrationLine] = []
    for name in names or list(SETS):
        watch(name)
        task = build(name, data, 0, most)
        before, after = (
            _Embedded(embed(task.queries, Role.QUERY), unit(embed(task.gallery, Role.DOCUMENT)))
            for embed in systems
        )
        lines += _lines(task, before, after, share, seeds, rerank)
    ways = list(dict.fromkeys(line.way for line in lines))
    means = {way: float(np.mean([one.ndcg_at_10 for one in lines if one.way == way])) for way in ways}
    return MigrationReport(
        old=old.card.model_id,
        new=new.card.model_id,
        share=share,
        seeds=tuple(seeds),
        lines=tuple(lines),
        means=means,
        kept={way: mean / means[FULL] for way, mean in means.items()},
    )


@dataclass(frozen=True, slots=True)
class _Embedded:
    """A set in one space: `[queries, dim]` of any length, `[gallery, dim]` of length 1."""

    queries: Vectors
    gallery: Vectors

    @property
    def cosines(self) -> Vectors:
        return cosines(self.queries, self.gallery)


def _lines(
    task: RetrievalSet,
    old: _Embedded,
    new: _Embedded,
    share: float,
    seeds: Sequence[int],
    rerank: Sequence[int],
) -> Iterator[MigrationLine]:
    found: dict[str, list[Scores]] = {}
    for seed in seeds:
        rng = np.random.default_rng(seed)
        moved = np.zeros(len(old.gallery), bool)
        moved[rng.permutation(len(moved))[: round(share * len(moved))]] = True
        sample = rng.permutation(np.flatnonzero(moved))[:SAMPLE]
        before, after = old.cosines, new.cosines
        scores = ways(before, after, moved, sample, rerank)
        images = _images(old.gallery, new.gallery, sample)
        scores[BRIDGED] = scores[MERGED]
        if images is not None:
            second = cosines(new.queries, images)
            joined = [joint(b, s, b[sample], s[sample]) for b, s in zip(before, second, strict=True)]
            mapped = [Calibration.fit(c[sample], a[sample])(c) for c, a in zip(joined, after, strict=True)]
            scores[BRIDGED] = np.where(moved, after, np.stack(mapped))
        for way, values in scores.items():
            found.setdefault(way, []).append(ranked(values, task.relevant)["nDCG@10"])
    for way, ndcgs in found.items():
        score = interval(np.mean(ndcgs, axis=0))
        yield MigrationLine(task=task.name, way=way, ndcg_at_10=score.mean, low=score.low, high=score.high)


def _images(old: Vectors, new: Vectors, sample: npt.NDArray[np.int64]) -> Vectors | None:
    """The gallery of the old space carried over by a bridge; rows of the sample by one that did not see them."""
    if len(sample) < LEAST:
        return None
    bridge, left_out = Bridge.between(old[sample], new[sample])
    images = bridge.images(old)
    images[sample] = left_out
    return images


def ways(
    before: Vectors,
    after: Vectors,
    moved: npt.NDArray[np.bool_],
    sample: npt.NDArray[np.int64],
    rerank: Sequence[int] = RERANK,
) -> dict[str, Scores]:
    """Scores `[queries, gallery]` that each way ranks by.

    Args:
        before: cosines of the old model, `[queries, gallery]`.
        after: those of the new one.
        moved: which of the gallery have moved, `[gallery]`.
        sample: rows that have moved, and calibrate.
        rerank: as in `migrate`.
    """
    mapped = np.stack([Calibration.fit(b[sample], a[sample])(b) for b, a in zip(before, after, strict=True)])
    merged = np.where(moved, after, mapped)
    found = {
        FULL: after.astype(np.float64),
        OLD: before.astype(np.float64),
        NEW_HALF: np.where(moved, after, -np.inf),
        FUSION: np.where(moved, _reciprocal(after, moved), _reciprocal(before, ~moved)),
        MERGED: merged,
    }
    left = np.where(moved, -np.inf, before)
    for count in rerank:
        best = np.argsort(-left, axis=1, kind="stable")[:, :count]
        again = merged.copy()
        np.put_along_axis(again, best, np.take_along_axis(after, best, axis=1).astype(np.float64), axis=1)
        found[f"{MERGED}, {count} embedded again"] = again
    return found


def _reciprocal(scores: Vectors, among: npt.NDArray[np.bool_]) -> Scores:
    """Reciprocal ranks of each query's scores among some of the gallery (Cormack et al., SIGIR 2009)."""
    order = np.argsort(-np.where(among, scores, -np.inf), axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(1, order.shape[1] + 1)[None, :], axis=1)
    return np.asarray(1.0 / (_RRF_K + ranks), np.float64)
