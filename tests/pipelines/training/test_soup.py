"""A soup is a mean, and greedy selection never ends below its best ingredient."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.soup import blend, greedy_soup


def state(value: float) -> dict[str, torch.Tensor]:
    return {"w": torch.full((2, 2), value), "steps": torch.tensor(7)}


def test_blend_is_the_weighted_mean_and_keeps_whole_numbers() -> None:
    mixed = blend([state(0.0), state(4.0)], [1, 3])
    torch.testing.assert_close(mixed["w"], torch.full((2, 2), 3.0))
    assert int(mixed["steps"]) == 7


def test_checkpoints_of_other_tensors_are_refused() -> None:
    with pytest.raises(ValueError, match="different tensors"):
        blend([state(0.0), {"v": torch.zeros(1)}], [1, 1])


@given(
    values=st.lists(st.floats(-5, 5, allow_nan=False, width=32), min_size=1, max_size=5),
    target=st.floats(-5, 5, allow_nan=False, width=32),
)
def test_greedy_soup_is_at_least_as_good_as_its_best_ingredient(values: list[float], target: float) -> None:
    states = [state(v) for v in values]

    def score(s: object) -> float:
        assert isinstance(s, dict)
        return -abs(float(s["w"][0, 0]) - target)

    weights = greedy_soup(states, score)
    assert score(blend(states, weights)) >= max(score(s) for s in states)


def test_greedy_soup_finds_a_mixture_that_no_ingredient_is() -> None:
    states = [state(0.0), state(4.0)]
    weights = greedy_soup(states, lambda s: -abs(float(s["w"][0, 0]) - 2.0))
    torch.testing.assert_close(blend(states, weights)["w"], torch.full((2, 2), 2.0))
