"""Retrieval scores against rankings whose scores are known."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.evaluation.retrieval import evaluate, interval, per_query


def at_ranks(ranks: list[int], gallery: int = 40) -> tuple[np.ndarray, np.ndarray, list[set[int]]]:
    """Queries whose one answer, row 0 of the gallery's order by cosine, stands at the given ranks (from 1)."""
    documents = np.eye(gallery, dtype=np.float32)
    queries = np.zeros((len(ranks), gallery), np.float32)
    relevant = []
    for q, rank in enumerate(ranks):
        order = np.roll(np.arange(gallery), q)
        queries[q, order] = np.linspace(1.0, 0.1, gallery)
        relevant.append({int(order[rank - 1])})
    return queries, documents, relevant


def test_scores_follow_from_ranks() -> None:
    scores = per_query(*at_ranks([1, 2, 10, 11]))
    np.testing.assert_allclose(scores["R@1"], [1, 0, 0, 0])
    np.testing.assert_allclose(scores["R@10"], [1, 1, 1, 0])
    np.testing.assert_allclose(scores["MRR@10"], [1, 1 / 2, 1 / 10, 0])
    np.testing.assert_allclose(scores["nDCG@10"], [1, 1 / np.log2(3), 1 / np.log2(11), 0])


def test_length_of_vectors_does_not_matter() -> None:
    queries, documents, relevant = at_ranks([1, 5, 12])
    stretched = documents * np.linspace(1, 9, len(documents), dtype=np.float32)[:, None]
    plain, scaled = evaluate(queries, documents, relevant), evaluate(queries * 3, stretched, relevant)
    assert plain.scores == scaled.scores
    assert (plain.queries, plain.gallery, plain.chance) == (3, 40, 0.25)


def test_interval_holds_the_mean_and_narrows_with_queries() -> None:
    few, many = interval(np.array([0.0, 1.0] * 10)), interval(np.array([0.0, 1.0] * 1_000))
    assert few.low < few.mean == 0.5 < few.high
    assert many.high - many.low < (few.high - few.low) / 5


def test_interval_is_the_same_by_seed() -> None:
    values = np.random.default_rng(0).random(50)
    assert interval(values, 3) == interval(values, 3)
    assert interval(values).mean == pytest.approx(values.mean())
