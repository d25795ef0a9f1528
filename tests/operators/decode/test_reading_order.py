"""Lines in the order of reading: nothing is lost, what is drawn well stays, rules are kept."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decode.reading_order import MOST_LINES, merged, reading_order

Line = tuple[float, float, float]
LINES = st.lists(
    st.tuples(st.integers(0, 500), st.integers(0, 700), st.integers(5, 400)), min_size=1, max_size=40
)


def boxes(lines: list[Line]) -> np.ndarray:
    """Lines of ten points from `(left, bottom, width)`."""
    return np.array([(x, y, x + width, y + 10) for x, y, width in lines], np.float64)


@settings(max_examples=200, deadline=None)
@given(LINES)
def test_no_line_is_lost_or_read_twice(lines: list[Line]) -> None:
    assert sorted(reading_order(boxes(lines))) == list(range(len(lines)))
    starts = merged(boxes(lines))
    assert starts == sorted({0, *starts})


@settings(max_examples=200, deadline=None)
@given(st.permutations(range(12)))
def test_a_column_is_read_downwards_in_whatever_order_it_is_drawn(order: list[int]) -> None:
    lines = [(50, 700 - 12 * n, 300 - 11 * n) for n in order]
    assert [order[i] for i in reading_order(boxes(lines))] == list(range(12))


@settings(max_examples=100, deadline=None)
@given(st.permutations(range(18)), st.integers(0, 6))
def test_three_columns_under_a_title_are_read_one_by_one(order: list[int], shift: int) -> None:
    title = (50, 720, 500)
    body = [(50 + 180 * (n // 6), 700 - 12 * (n % 6) - shift * (n // 6), 150) for n in range(18)]
    lines = [body[n] for n in order] + [title]
    assert reading_order(boxes(lines)) == [18, *(order.index(n) for n in range(18))]


def test_what_is_drawn_in_order_stays_as_it_is() -> None:
    letter = [(400, 750, 80), (50, 700, 120), (50, 688, 90), (50, 650, 450), (50, 638, 430), (50, 600, 60)]
    assert reading_order(boxes(letter)) == list(range(6))


def test_a_page_of_numbers_keeps_its_order() -> None:
    many = [(x, y, 5) for y in range(0, 700, 10) for x in range(0, 500, 50)]
    assert len(many) > MOST_LINES
    assert reading_order(boxes(many)) == list(range(len(many)))


def test_pieces_of_a_line_are_joined_and_columns_are_not() -> None:
    pieces = boxes([(50, 700, 40), (95, 700, 60), (158, 702, 20), (320, 700, 80), (50, 688, 100)])
    assert merged(pieces) == [0, 3, 4]
