"""Golden queries: what a team expects to find, searched in spaces at every width, and in the middle of a move."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.bridge import LEAST
from pipelines.migration import Halves, MigrationSearcher
from pipelines.query import Hit, Query, Searcher
from schemas.compare import Golden, GoldenScore, HalfMoved
from schemas.errors import UsageError

_DEPTH = 100
_K = 10


def golden_scores(searchers: Sequence[Searcher], golden: Sequence[Golden]) -> tuple[GoldenScore, ...]:
    """nDCG@10 and recall@10 by asset, for each space and width, by ir-measures."""
    scores = []
    for searcher in searchers:
        for width in searcher.space.widths:
            ndcg, recall = _measured(searcher.search, golden, width)
            scores.append(
                GoldenScore(
                    space=searcher.space.id,
                    width=width,
                    queries=len(golden),
                    ndcg_at_10=ndcg,
                    recall_at_10=recall,
                )
            )
    return tuple(scores)


def half_moved(old: Searcher, new: Searcher, golden: Sequence[Golden], seed: int) -> HalfMoved | None:
    """Golden queries as if a seeded half of what both spaces hold had not moved yet; None when that is too little."""
    halves = Halves.of(old.reader, old.corpus, old.space.id, new.space.id)
    if halves.held.height < 2 * LEAST:
        return None
    halves = halves.as_at_half(seed)

    def searched(*, bridge: bool) -> float:
        both = MigrationSearcher(old.reader, old, new, bridge=bridge, halves=halves, seed=seed)
        return _measured(both.search, golden, None)[0]

    try:
        bridged = searched(bridge=True)
    except UsageError:  # two recipes
        bridged = None
    return HalfMoved(calibrated=searched(bridge=False), bridged=bridged)


def _measured(
    search: Callable[[Query], list[Hit]], golden: Sequence[Golden], width: int | None
) -> tuple[float, float]:
    """nDCG@10 and recall@10; an asset's score is the best of those of its segments that are found."""
    import ir_measures
    from ir_measures import R, nDCG

    qrels = [
        ir_measures.Qrel(str(n), uri, 1)
        for n, one in enumerate(golden)
        for uri in dict.fromkeys(one.expected)
    ]
    run = []
    for n, one in enumerate(golden):
        best: dict[str, float] = {}
        for hit in search(Query(parts=(("text", one.query),), width=width, limit=_DEPTH, exact=True)):
            best.setdefault(hit.uri, hit.score)
        run += [ir_measures.ScoredDoc(str(n), uri, score) for uri, score in best.items()]
    found = ir_measures.calc_aggregate([nDCG @ _K, R @ _K], qrels, run)
    return float(found[nDCG @ _K]), float(found[R @ _K])
