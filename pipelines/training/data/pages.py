"""Pages of a dictionary, and what is asked of them: neither the page nor the question alone tells the passage."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pipelines.training.data.speech import is_test_sentence
from pipelines.training.data.wordnet import synsets

_PAGE_WORDS = 190
_TERM = re.compile(r"[a-z]{4,}")
_PASSAGES = 5
_PASSAGE_WORDS = (14, 18, 24, 28)
_START_WORDS = 20
_COMMON = 5
"""Other pages that have a term, for the page to be needed."""
_FORMS = (
    "where does it say {}?", "{}", "what is said of {}", "the lines with {}", "{}?", "show me {}", "who mentions {}",
    "where is {}", "about {}",
)  # fmt: skip


def pages(work: Path) -> list[str]:
    """Meanings that stand together in WordNet, with sentences that use them, about 190 words a page; none of the
    sentences that are for tests. In an order drawn once.
    """
    found: list[str] = []
    words: list[str] = []
    for s in synsets(work):
        if s.examples and not any(is_test_sentence(e) for e in s.examples):
            words += f"{s.lemmas[0]}: {s.definition}; {'; '.join(s.examples)}.".split()
            if len(words) >= _PAGE_WORDS:
                found.append(" ".join(words))
                words = []
    random.Random(2).shuffle(found)  # noqa: S311
    return found


def terms_of(text: str) -> frozenset[str]:
    """The words of a text that can be asked for."""
    return frozenset(_TERM.findall(text.lower()))


def askable(
    pages: Sequence[Sequence[frozenset[str]]], common: int
) -> Iterator[tuple[int, int, Sequence[str]]]:
    """What tells a passage only together with its page: its page's number, its own in it, and such terms.

    Args:
        pages: the terms of each passage of each page.
        common: more pages than so many have a term; no other passage of its page does.

    Returns:
        of each passage, its terms in the order of how many pages have them, of those alike by the alphabet.
    """
    spread = Counter(term for page in pages for term in frozenset().union(*page))
    for number, page in enumerate(pages):
        within = Counter(term for passage in page for term in passage)
        for place, passage in enumerate(page):
            told = [term for term in passage if within[term] == 1 and spread[term] > common]
            yield number, place, sorted(told, key=lambda term: (spread[term], term))


@dataclass(frozen=True, slots=True)
class Asked:
    """A term that one passage of a page has, and passages of several other pages."""

    page: int
    passage: int
    term: str

    def question(self, rng: random.Random) -> str:
        """In one of several forms."""
        return rng.choice(_FORMS).format(self.term)


@dataclass(frozen=True, slots=True)
class Questions:
    """Pages, the passages of all of them, and what can be asked: for each term the pages that it can be asked of."""

    pages: Sequence[str]
    passages: Sequence[str]
    asked: Sequence[Sequence[Asked]]

    @classmethod
    def of(cls, pages: Sequence[str], rng: random.Random) -> Questions:
        """Questions to the beginnings of pages, cut into five passages of a drawn length."""
        cut = [_passages(page, rng.choice(_PASSAGE_WORDS)) for page in pages]
        asked = [
            Asked(number, _PASSAGES * number + place, term)
            for number, place, terms in askable([list(map(terms_of, p)) for p in cut], _COMMON)
            for term in terms
        ]
        asked.sort(key=lambda a: (a.term, a.passage))
        by_term = [list(group) for _, group in groupby(asked, key=lambda a: a.term)]
        return cls(
            [" ".join(passages) for passages in cut], [p for passages in cut for p in passages], by_term
        )

    def start(self, page: int) -> str:
        """A page's first words."""
        return " ".join(self.pages[page].split()[:_START_WORDS])

    def draw(self, size: int, rng: random.Random) -> list[Asked]:
        """A term each, then one of the pages that have it."""
        return [rng.choice(rng.choice(self.asked)) for _ in range(size)]


def _passages(page: str, size: int) -> list[str]:
    words = page.split()
    return [" ".join(words[size * i : size * (i + 1)]) for i in range(_PASSAGES)]
