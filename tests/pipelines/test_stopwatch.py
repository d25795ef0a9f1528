from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.stopwatch import Stopwatch


class Clock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_time_goes_to_the_model_before_storage_and_to_storage_before_input() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    clock.now += 5
    watch.loaded()
    clock.now += 3
    with watch.has_rows():
        clock.now += 0.5
        with watch.in_model():
            clock.now += 7
            with watch.has_rows():  # the other thread writes meanwhile
                clock.now += 2
        clock.now += 1
    clock.now += 4
    assert watch.spent() == {"loading": 5, "model": 9, "storage": 1.5, "input": 7}


def test_an_error_in_the_model_leaves_no_one_in_it() -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    watch.loaded()
    with pytest.raises(RuntimeError), watch.has_rows(), watch.in_model():
        raise RuntimeError
    clock.now += 1
    assert watch.spent() == {"loading": 0, "model": 0, "storage": 0, "input": 1}


@given(st.lists(st.tuples(st.sampled_from(["rows", "model", "idle"]), st.floats(0, 1_000)), max_size=30))
def test_all_that_was_spent_is_the_actors_life(steps: list[tuple[str, float]]) -> None:
    clock = Clock()
    watch = Stopwatch(clock)
    for step, seconds in steps:
        with watch.has_rows() if step == "rows" else watch.in_model():
            clock.now += seconds if step != "idle" else 0
        watch.loaded()
        clock.now += seconds
    assert math.isclose(sum(watch.spent().values()), clock.now - 100, abs_tol=1e-6)
