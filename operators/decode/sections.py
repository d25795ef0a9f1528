"""Sections of a text, packed into spans that a chunk may hold: none straddles a section without need.

A section that fits the budget with all that is below it stays in one piece. Of a larger one its own text and its
subsections are taken apart, and small neighbours stay together until they fill a quarter of the budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from operators.decode.chunk import Measured

_DEEPEST = 8
"""Levels that are told apart: deeper ones count as this one."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A section begins at character `at`; without a title it is only a place to cut."""

    at: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `[start, end)`; `path` are the titles of the sections around it, `own` those that it begins with."""

    start: int
    end: int
    path: tuple[str, ...]
    own: tuple[str, ...] = ()


@dataclass(slots=True)
class _Section:
    start: int
    own_end: int
    level: int
    titles: tuple[str, ...]
    tokens: int
    end: int = 0
    total: int = 0
    below: list[_Section] = field(default_factory=list)


def pack(text: Measured, headings: Sequence[Heading], budget: int) -> Iterator[Span]:
    """Spans that follow one another and cover the text; those over the budget are single sections' own text.

    Args:
        text: the whole text.
        headings: in the order of the text.
        budget: tokens of a chunk.
    """
    root = _tree(text, headings)
    yield from _spans(root, (), budget)


def _tree(text: Measured, headings: Sequence[Heading]) -> _Section:
    ends = [*(h.at for h in headings), len(text.text)]
    root = _Section(0, ends[0], 0, (), text.count(0, ends[0]))
    open_sections = [root]
    for heading, end in zip(headings, ends[1:], strict=True):
        level = min(max(1, heading.level), _DEEPEST)
        tokens = text.count(heading.at, end)
        while open_sections[-1].level >= level:
            open_sections.pop()
        title = heading.title.strip()
        section = _Section(heading.at, end, level, (title,) if title else (), tokens)
        open_sections[-1].below.append(section)
        open_sections.append(section)
    _measure(root)
    return root


def _measure(section: _Section) -> None:
    for below in section.below:
        _measure(below)
    section.end = section.below[-1].end if section.below else section.own_end
    section.total = section.tokens + sum(below.total for below in section.below)


def _spans(section: _Section, path: tuple[str, ...], budget: int) -> Iterator[Span]:
    """The spans of a section and of all below it."""
    if section.total <= budget or not section.below:
        yield Span(section.start, section.end, path, section.titles)
        return
    inside = (*path, *section.titles)
    group = _Group(Span(section.start, section.own_end, path, section.titles), section.tokens)
    for below in section.below:
        if below.total > budget:
            spans = _spans(below, inside, budget)
            if group.tokens < budget // 8:
                # A heading alone, or next to alone, goes with what follows it.
                yield _led(next(spans), group.span)
            else:
                yield group.span
            yield from spans
            group = _Group(Span(below.end, below.end, inside), 0)
        elif group.tokens and not group.has_room(below, budget):
            yield group.span
            group = _Group(Span(below.start, below.end, inside, below.titles), below.total)
        else:
            group.add(below, inside)
    if group.span.end > group.span.start:
        yield group.span


def _led(span: Span, lead: Span) -> Span:
    """A large section's first span with the little text before it."""
    if lead.end == lead.start:
        return span
    above = lead.own if lead.path != span.path else ()
    return Span(lead.start, span.end, lead.path, (*above, *span.own))


class _Group:
    """Small neighbours that share a span."""

    def __init__(self, span: Span, tokens: int) -> None:
        self.span, self.tokens = span, tokens

    def has_room(self, section: _Section, budget: int) -> bool:
        """Whether a section may join: any until a quarter is full, then only crumbs such as a closing brace."""
        joins = self.tokens < budget // 4 or section.total <= budget // 16
        return joins and self.tokens + section.total <= budget

    def add(self, section: _Section, inside: tuple[str, ...]) -> None:
        """Take a section; its title is that of the span only when the span begins with it."""
        if self.span.end == self.span.start:
            self.span = Span(section.start, section.end, inside, section.titles)
        else:
            own = self.span.own if self.span.path != inside else ()
            self.span = Span(self.span.start, section.end, self.span.path, own)
        self.tokens += section.total
