"""A night that finds nothing new stays cheap however many objects are known (the benchmark prints the figures)."""

from __future__ import annotations

import pytest

from tests.benchmarks.planning import measure

SECONDS = 60
MEGABYTES = 1_500
LINEAR = 1.5
"""A million may take ten times the time of a hundred thousand, and half of that again for a machine that is busy."""


def test_a_hundred_thousand_known_objects_are_planned_within_a_tenth_of_the_bounds() -> None:
    found = measure(100_000)
    assert found["seconds"] < SECONDS / 10 * LINEAR
    assert found["mb"] < MEGABYTES / 2


@pytest.mark.slow
def test_a_million_known_objects_are_planned_in_a_minute_and_one_and_a_half_gigabytes() -> None:
    fewer, many = measure(100_000), measure(1_000_000)
    for size in (fewer, many):
        print(f"{size['objects']:,} objects: {size['seconds']:.1f} s, {size['mb']:.0f} MB")
    assert many["seconds"] < SECONDS
    assert many["mb"] < MEGABYTES
    assert many["seconds"] / fewer["seconds"] < 10 * LINEAR
