from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.model.batching import embed_in_batches, micro_batches

LENGTHS = st.lists(st.integers(0, 9_000), max_size=80)
BUDGETS = st.integers(1, 20_000)


@given(LENGTHS, BUDGETS, st.none() | st.integers(1, 9))
def test_every_row_is_in_exactly_one_batch_and_none_is_over_budget(
    tokens: list[int], budget: int, max_rows: int | None
) -> None:
    batches = micro_batches(tokens, budget, max_rows)
    assert sorted(row for batch in batches for row in batch) == list(range(len(tokens)))
    for batch in batches:
        padded = max(tokens[row] for row in batch) * len(batch)
        assert padded <= budget or len(batch) == 1
        assert len(batch) <= (max_rows or len(batch))


@given(LENGTHS, BUDGETS)
def test_rows_of_like_length_go_together(tokens: list[int], budget: int) -> None:
    flat = [tokens[row] for batch in micro_batches(tokens, budget) for row in batch]
    assert flat == sorted(tokens, reverse=True)


@given(LENGTHS, BUDGETS)
def test_two_neighbouring_batches_never_fit_in_one(tokens: list[int], budget: int) -> None:
    batches = micro_batches(tokens, budget)
    for first, second in pairwise(batches):
        assert max(1, tokens[first[0]]) * (len(first) + 1) > budget
        assert len(second) >= 1


@given(LENGTHS.filter(bool), BUDGETS)
def test_vectors_come_back_in_the_callers_order(tokens: list[int], budget: int) -> None:
    def embed(rows: list[tuple[int, int]]) -> np.ndarray:
        return np.asarray(rows, np.float32)

    rows = list(enumerate(tokens))
    restored = embed_in_batches(embed, rows, tokens, budget)
    np.testing.assert_array_equal(restored, np.asarray(rows, np.float32))


def test_one_long_row_does_not_pad_the_short_ones() -> None:
    assert micro_batches([10] * 6 + [8_000], budget=8_192) == [[6], [0, 1, 2, 3, 4, 5]]


def test_a_budget_below_one_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        micro_batches([1], 0)
