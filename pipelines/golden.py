"""Golden queries: what a team expects to find, searched in several spaces at every width."""

from __future__ import annotations

from collections.abc import Sequence

from operators.model.contract import ModelSpec
from pipelines.query import Query, Searcher
from pipelines.reader import LakeReader
from schemas.compare import Golden, GoldenScore

_DEPTH = 100
_K = 10


def golden_scores(
    reader: LakeReader,
    corpus: str,
    spaces: Sequence[str],
    golden: Sequence[Golden],
    specs: dict[str, ModelSpec],
) -> tuple[GoldenScore, ...]:
    """nDCG@10 and recall@10 by asset, for each space and width, by ir-measures.

    Raises:
        ModelError: a spec is not the model of its space.
    """
    import ir_measures
    from ir_measures import R, nDCG

    qrels = [
        ir_measures.Qrel(str(n), uri, 1)
        for n, one in enumerate(golden)
        for uri in dict.fromkeys(one.expected)
    ]
    scores = []
    for space in spaces:
        searcher = Searcher(reader, corpus, specs[space], space)
        for width in searcher.space.widths:
            run = [
                ir_measures.ScoredDoc(str(n), uri, score)
                for n, one in enumerate(golden)
                for uri, score in _by_asset(searcher, one.query, width).items()
            ]
            found = ir_measures.calc_aggregate([nDCG @ _K, R @ _K], qrels, run)
            scores.append(
                GoldenScore(
                    space=space,
                    width=width,
                    queries=len(golden),
                    ndcg_at_10=float(found[nDCG @ _K]),
                    recall_at_10=float(found[R @ _K]),
                )
            )
    return tuple(scores)


def _by_asset(searcher: Searcher, words: str, width: int) -> dict[str, float]:
    """The best score of each asset among the nearest segments."""
    best: dict[str, float] = {}
    for hit in searcher.search(Query(parts=(("text", words),), width=width, limit=_DEPTH)):
        best.setdefault(hit.uri, hit.score)
    return best
