"""Sections are packed whole where they fit, cover the text, and say what they are part of."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from operators.decode.chunk import Measured
from operators.decode.sections import Heading, Span, pack
from tests.operators.decode.pages import Words


def packed(sections: list[tuple[int, int]], budget: int) -> tuple[str, list[Span]]:
    """Spans of a text of (level, words) sections, each with its title `S<n>` as the first word."""
    text, headings = "", []
    for number, (level, words) in enumerate(sections):
        if level:
            headings.append(Heading(len(text), level, f"S{number}"))
        text += " ".join([f"S{number}", *["w"] * (words - 1)]) + "\n"
    return text, list(pack(Measured(text, Words()), headings, budget))


def starts(text: str, spans: list[Span]) -> list[list[str]]:
    return [[w for w in text[s.start : s.end].split() if w.startswith("S")] for s in spans]


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(1, 30)), min_size=1, max_size=25),
    st.integers(8, 40),
    st.booleans(),
)
def test_spans_follow_one_another_and_cover_the_text(
    sections: list[tuple[int, int]], budget: int, preamble: bool
) -> None:
    text, spans = packed([(0, 5), *sections] if preamble else sections, budget)
    assert "".join(text[s.start : s.end] for s in spans) == text
    assert all(a.end == b.start for a, b in itertools.pairwise(spans))
    for span in spans:
        lines = text[span.start : span.end].splitlines()
        held, largest = sum(len(line.split()) for line in lines), max(len(line.split()) for line in lines)
        assert held <= budget + budget // 8 or held <= largest + budget // 8


def test_what_fits_stays_together_and_what_does_not_is_cut_at_its_sections() -> None:
    text, spans = packed([(1, 5), (2, 5), (2, 5)], 20)
    assert starts(text, spans) == [["S0", "S1", "S2"]]
    text, spans = packed([(1, 10), (2, 15), (3, 4), (2, 15)], 20)
    assert starts(text, spans) == [["S0"], ["S1", "S2"], ["S3"]]
    assert [s.path for s in spans] == [(), ("S0",), ("S0",)]
    assert [s.own for s in spans] == [("S0",), ("S1",), ("S3",)]


def test_a_heading_alone_goes_with_the_large_section_after_it() -> None:
    text, spans = packed([(1, 1), (2, 50), (2, 3)], 16)
    assert starts(text, spans) == [["S0", "S1"], ["S2"]]
    assert spans[0].path == ()
    assert spans[0].own == ("S0", "S1")


def test_small_neighbours_share_a_span_until_a_quarter_is_full() -> None:
    text, spans = packed([(1, 3), (1, 3), (1, 3), (1, 6), (1, 30)], 32)
    assert starts(text, spans) == [["S0", "S1", "S2"], ["S3"], ["S4"]]
    assert spans[0].own == (), "three sections have no title in common"
