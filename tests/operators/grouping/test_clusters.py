"""Centres, nearest centres, and words for clusters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.grouping.kmeans import Vectors, centres, nearest
from operators.grouping.labels import labels


def around(directions: Vectors, each: int, seed: int = 0) -> Vectors:
    noise = np.random.default_rng(seed).standard_normal((len(directions) * each, directions.shape[1]))
    made = np.repeat(directions, each, axis=0) + 0.05 * noise
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def test_well_apart_directions_are_found_again_and_the_same_seed_finds_the_same() -> None:
    directions = np.eye(8, dtype=np.float32)[:5]
    vectors = around(directions, 60)
    found = centres(vectors, 5, seed=3)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.sort((found @ directions.T).argmax(axis=1)).tolist() == [0, 1, 2, 3, 4]
    assert (found @ directions.T).max(axis=1).min() > 0.99
    assert (centres(vectors, 5, seed=3) == found).all()


def test_as_many_centres_as_rows_are_possible() -> None:
    vectors = around(np.eye(4, dtype=np.float32), 1)
    own, cosine = nearest(vectors, centres(vectors, 4, seed=0), 1)
    assert sorted(own[:, 0]) == [0, 1, 2, 3]
    assert cosine.min() > 0.999


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 9), st.data())
def test_the_nearest_centres_are_those_of_a_full_sort(
    seed: int, rows: int, k: int, data: st.DataObject
) -> None:
    random = np.random.default_rng(seed)
    vectors, found = (random.standard_normal((n, 4)).astype(np.float32) for n in (rows, k))
    count = data.draw(st.integers(1, k))
    best, cosines = nearest(vectors, found, count)
    scores = vectors @ found.T
    assert np.allclose(cosines, -np.sort(-scores, axis=1)[:, :count], atol=1e-5)
    assert np.allclose(np.take_along_axis(scores, best, axis=1), cosines, atol=1e-5)


def test_a_label_is_of_words_that_the_other_clusters_do_not_have() -> None:
    texts = [
        "the report on harbour ships",
        "harbour ships report",
        "report on forest owls",
        "owls report forest",
    ]
    found = labels([*texts, ""], np.array([0, 0, 1, 1, 2], np.int32), 4)
    assert [sorted((words or "").split(", ")[:2]) for words in found] == [
        ["harbour", "ships"],
        ["forest", "owls"],
        [""],
        [""],
    ]


@pytest.mark.parametrize("texts", [["", ""], ["a b", "1 2 3"], ["alone", "apart"]])
def test_texts_without_a_common_word_have_no_label(texts: list[str]) -> None:
    assert labels(texts, np.array([0, 0], np.int32), 1) == [None]
