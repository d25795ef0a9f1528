"""Stars: every row near its representative, no two representatives near each other, whatever the blocks."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from operators.grouping import stars as module
from operators.grouping.kmeans import nearest
from operators.grouping.stars import ROUNDING, Cells, Stars, Vectors, recall, stars

SEEDS = st.integers(0, 2**32 - 1)
WIDTH = 3
"""Few dimensions have many near pairs, and chains of them."""


def random_vectors(seed: int, rows: int, width: int = WIDTH) -> Vectors:
    made = np.random.default_rng(seed).standard_normal((rows, width))
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def clear(vectors: Vectors, threshold: float) -> bool:
    """Whether no cosine is so near the threshold that rounding decides."""
    return bool((np.abs(vectors @ vectors.T - threshold) > 1e-5).all())


def one_by_one(vectors: Vectors, threshold: float) -> list[int]:
    """What `stars` promises, a row at a time."""
    leaders: list[int] = []
    found = []
    for row, vector in enumerate(vectors):
        scores = [float(vectors[leader] @ vector) for leader in leaders]
        if scores and max(scores) >= threshold:
            found.append(leaders[int(np.argmax(scores))])
        else:
            leaders.append(row)
            found.append(row)
    return found


def of(vectors: Vectors, threshold: float, cells: Cells | None = None, block: int = 512) -> Stars:
    with patch.object(module, "_BLOCK", block), patch.object(module, "_GALLERY", block):
        return stars(vectors.copy(), threshold, cells or Cells.one(len(vectors)))


def in_cells(vectors: Vectors, around: Vectors, probes: int) -> tuple[Vectors, Cells]:
    """The vectors by their nearest centres."""
    best, _ = nearest(vectors, around, probes)
    order = np.argsort(best[:, 0], kind="stable")
    sizes = np.bincount(best[:, 0], minlength=len(around))
    return vectors[order], Cells(np.concatenate([[0], np.cumsum(sizes)]), best[order])


@given(SEEDS, st.integers(1, 60), st.floats(0.3, 0.99), st.integers(1, 70))
def test_each_row_joins_the_nearest_representative_before_it_whatever_the_blocks(
    seed: int, rows: int, threshold: float, block: int
) -> None:
    vectors = random_vectors(seed, rows)
    assume(clear(vectors, threshold))
    assert of(vectors, threshold, block=block).leader.tolist() == one_by_one(vectors, threshold)


@given(
    SEEDS, st.integers(1, 60), st.floats(0.3, 1.0), st.integers(1, 8), st.integers(1, 8), st.integers(1, 20)
)
def test_no_row_is_further_from_its_representative_than_the_threshold(
    seed: int, rows: int, threshold: float, cells: int, probes: int, block: int
) -> None:
    vectors, laid = in_cells(random_vectors(seed, rows), random_vectors(seed + 1, cells), min(probes, cells))
    found = of(vectors, threshold, laid, block)
    cosines = (vectors * vectors[found.leader]).sum(axis=1)
    assert (cosines >= threshold - 2 * ROUNDING).all()
    assert np.allclose(cosines, found.score, atol=1e-6)
    assert (found.leader[found.leader] == found.leader).all(), "a representative represents itself"


@given(SEEDS, st.integers(2, 60), st.floats(0.3, 0.99), st.integers(1, 8), st.integers(1, 20))
def test_no_two_representatives_are_near_each_other_when_every_cell_is_probed(
    seed: int, rows: int, threshold: float, cells: int, block: int
) -> None:
    vectors, laid = in_cells(random_vectors(seed, rows), random_vectors(seed + 1, cells), cells)
    assume(clear(vectors, threshold))
    leaders = np.unique(of(vectors, threshold, laid, block).leader)
    among = vectors[leaders] @ vectors[leaders].T
    np.fill_diagonal(among, -1)
    assert (among < threshold).all()


@given(SEEDS, st.integers(1, 12), st.integers(0, 4), st.integers(1, 9))
def test_planted_duplicates_are_found_exactly_and_nothing_else(
    seed: int, originals: int, copies: int, block: int
) -> None:
    width, random = 64, np.random.default_rng(seed)
    base = random_vectors(seed, originals, width)
    assume(np.triu(base @ base.T, 1).max() < 0.8)
    noisy = np.repeat(base, copies + 1, axis=0)
    noisy = noisy + 0.01 * random.standard_normal(noisy.shape)
    vectors = np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), np.float32)
    order, truth = random.permutation(len(vectors)), np.repeat(np.arange(originals), copies + 1)
    leader = of(vectors[order], 0.95, block=block).leader
    same = truth[order][:, None] == truth[order][None, :]
    assert ((leader[:, None] == leader[None, :]) == same).all()


def test_a_chain_is_not_one_group() -> None:
    angles = np.arange(12) * np.arccos(0.96)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert of(vectors, 0.95).leader.tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10]


@given(SEEDS, st.integers(2, 50), st.floats(0.3, 0.9), st.integers(1, 8), st.integers(1, 3))
def test_recall_is_the_share_of_near_pairs_that_meet(
    seed: int, rows: int, threshold: float, cells: int, probes: int
) -> None:
    vectors, laid = in_cells(random_vectors(seed, rows), random_vectors(seed + 1, cells), min(probes, cells))
    assume(clear(vectors, threshold))
    own = np.repeat(np.arange(cells), np.diff(laid.starts))
    assert own.tolist() == laid.of_rows().tolist()
    pairs = [(a, b) for a in range(rows) for b in range(a + 1, rows) if vectors[a] @ vectors[b] >= threshold]
    meet = [own[a] in laid.probes[b] for a, b in pairs]
    found = recall(vectors, threshold, laid, np.arange(rows))
    assert found == (sum(meet) / len(meet) if meet else None)
    assert recall(vectors, threshold, Cells.one(rows), np.arange(rows)) == (1.0 if meet else None)


def test_cells_cover_all_rows_once() -> None:
    _, laid = in_cells(random_vectors(1, 40), random_vectors(2, 5), 2)
    assert (laid.starts[0], laid.starts[-1]) == (0, 40)
    assert all(a <= b for a, b in pairwise(laid.starts))
