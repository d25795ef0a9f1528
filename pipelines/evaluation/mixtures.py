"""Composed retrieval: every query has two parts, and neither part alone tells the answer from the others.

`picture+words` and `speech+words` cross every subject (a picture, a spoken sentence) with every topic: the gallery
holds each subject under each topic, so that a part alone can do no better than guess among 30. `page+question` asks
for a passage: the page has several, and the term asked for stands in passages of many other pages.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pypdfium2 as pdfium

from pipelines.evaluation.items import ImageFile, Item, PdfPage, Sound
from pipelines.evaluation.sets import Kind, RetrievalSet
from pipelines.evaluation.speech import utterances
from pipelines.evaluation.texts import manuals, page_text
from pipelines.training.data.pages import askable, terms_of
from pipelines.training.data.pictures import Picture, stamps

_SUBJECTS = 30
_QUERIES = 150
_PLAIN = re.compile(r"^An? ([a-z]+(?: [a-z]+)?)\.$")

TOPICS = (
    ("how do I draw this?", "A drawing lesson, step by step: {}"),
    ("what does this cost?", "Price list, page 4: {}"),
    ("where does the word come from?", "Dictionary of word origins: {}"),
    ("one for children, please", "A bedtime story for children: {}"),
    ("how is this looked after?", "Care and maintenance: {}"),
    ("is it dangerous?", "Safety warning: {}"),
    ("a poem about this", "A short poem: {}"),
    ("I lost mine", "Lost and found office, report of a loss: {}"),
    ("who invented or discovered it?", "Inventors and discoverers: {}"),
    ("at the museum", "Museum catalogue, room 12: {}"),
    ("how large is it?", "Table of sizes and weights: {}"),
    ("I want to sell this", "Second-hand advertisement, for sale: {}"),
    ("take it to the airport", "Air travel, rules for luggage: {}"),
    ("in ancient times", "Ancient history, from Egypt to Rome: {}"),
    ("a photo of it at night", "Night photography: {}"),
    ("what did people dream of?", "Interpretation of dreams: {}"),
    ("made of chocolate", "The pastry cook's chocolate figures: {}"),
    ("knit it", "Knitting pattern: {}"),
    ("on a stamp", "Stamp collector's catalogue: {}"),
    ("a joke", "Joke of the day: {}"),
    ("the film", "Cinema programme, new film this week: {}"),
    ("in court", "Court ruling, dispute between neighbours: {}"),
    ("the weather and this", "Effects of rain and frost: {}"),
    ("as a costume", "Carnival costumes to sew: {}"),
    ("tax", "Tax office, customs tariff: {}"),
    ("for the school exam", "School examination questions, biology and crafts: {}"),
    ("in space", "An experiment on the space station: {}"),
    ("as a tattoo", "Tattoo studio, popular motifs: {}"),
    ("in a song", "Folk songs and their refrains: {}"),
    ("insure it", "Insurance policy, what is covered: {}"),
)
"""What is said beside the subject, and how the gallery says it."""


def picture_and_words(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """A stamp of an unseen source, and a wish: find the text on that subject under that topic."""
    rng = random.Random(seed)  # noqa: S311
    named = {m[1]: p for p in stamps(data) if (m := _PLAIN.match(p.name))}
    chosen: list[tuple[str, Picture]] = rng.sample(sorted(named.items()), _SUBJECTS)
    subjects = [(name, (ImageFile(picture.path),)) for name, picture in chosen]
    note = "30 Tux Paint stamps x 30 topics; the gallery holds every pair once, as text"
    return _crossed("picture+words", subjects, rng, seed, most, note)


def speech_and_words(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """A sentence in a held-out voice, and a wish: find that sentence under that topic."""
    rng = random.Random(seed)  # noqa: S311
    chosen = rng.sample(utterances(data), _SUBJECTS)
    subjects = [(text, (Sound(samples),)) for samples, text in chosen]
    note = "30 sentences in held-out voices x 30 topics; the gallery holds every pair once, as text"
    return _crossed("speech+words", subjects, rng, seed, most, note)


def _crossed(
    name: str,
    subjects: Sequence[tuple[str, Item]],
    rng: random.Random,
    seed: int,
    most: int | None,
    note: str,
) -> RetrievalSet:
    pairs = [(s, t) for s in range(len(subjects)) for t in range(len(TOPICS))]
    asked = rng.sample(range(len(pairs)), min(most or _QUERIES, _QUERIES))
    return RetrievalSet(
        name=name,
        kind=Kind.COMPOSED,
        queries=[(*subjects[pairs[row][0]][1], TOPICS[pairs[row][1]][0]) for row in asked],
        gallery=[(TOPICS[t][1].format(subjects[s][0]),) for s, t in pairs],
        relevant=[{row} for row in asked],
        seed=seed,
        note=note,
    )


_PASSAGE_WORDS = 28
_PASSAGES = 5
"""Of a page's beginning, about what of it goes into a model of 250 tokens of text."""
_COMMON = 8
"""Other pages whose passages hold the term too."""


@dataclass(frozen=True, slots=True)
class _Passage:
    page: PdfPage
    text: str


def page_and_question(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """A manual's page and a term: find the one passage of this page that holds it; many pages' passages do."""
    passages = [passage for path in manuals(data) for passage in _passages(path)]
    pages: dict[PdfPage, list[int]] = {}
    for row, passage in enumerate(passages):
        pages.setdefault(passage.page, []).append(row)
    rows = list(pages.values())
    found = askable([[terms_of(passages[row].text) for row in page] for page in rows], _COMMON)
    asked = [(rows[page][place], terms[0]) for page, place, terms in found if terms]
    picked = random.Random(seed).sample(asked, min(most or _QUERIES, _QUERIES, len(asked)))  # noqa: S311
    return RetrievalSet(
        name="page+question",
        kind=Kind.COMPOSED,
        queries=[(passages[row].page, f"where does it say {term}?") for row, term in picked],
        gallery=[(passage.text,) for passage in passages],
        relevant=[{row} for row, _ in picked],
        seed=seed,
        note="pages of two Debian manuals (GPL-2+, evaluation only), 5 passages each; the term is in one passage of"
        f" the page and in those of more than {_COMMON} other pages",
    )


def _passages(path: Path) -> Iterator[_Passage]:
    document = pdfium.PdfDocument(path)
    try:
        for index in range(len(document)):
            words = page_text(document, index).split()
            if len(words) < _PASSAGES * _PASSAGE_WORDS:
                continue
            for start in range(0, _PASSAGES * _PASSAGE_WORDS, _PASSAGE_WORDS):
                text = " ".join(words[start : start + _PASSAGE_WORDS])
                yield _Passage(PdfPage(path, index + 1), text)
    finally:
        document.close()
