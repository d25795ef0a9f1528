"""Text asked of text: meanings and their uses, and the headings of a manual and what stands below them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pypdfium2 as pdfium

from pipelines.evaluation.sets import Kind, RetrievalSet
from pipelines.training.data import sources
from pipelines.training.data.speech import is_test_sentence
from pipelines.training.data.wordnet import synsets

_PAIRS = 1_000
_LEAST, _MOST = 200, 700
"""Characters of a passage below a heading."""
_NUMBER = re.compile(r"^(chapter\s+)?[\dA-Z]+(\.\d+)*\.?\s+", re.IGNORECASE)


def wordnet(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """A meaning's definition finds the sentence that uses it; sentences of the test fold only."""
    found = {
        synset.examples[0]: synset.definition
        for synset in synsets(data)
        if synset.examples and is_test_sentence(synset.examples[0]) and len(synset.examples[0].split()) >= 4
    }
    pairs = random.Random(seed).sample(sorted(found.items()), min(_PAIRS, len(found)))  # noqa: S311
    asked = pairs[:most]
    return RetrievalSet(
        name="wordnet",
        kind=Kind.TEXT,
        queries=[(definition,) for _, definition in asked],
        gallery=[(sentence,) for sentence, _ in pairs],
        relevant=[{i} for i in range(len(asked))],
        seed=seed,
        note="WordNet 3.0: a definition asks for the example sentence of its meaning; sentences held out by digest",
    )


def manual(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """A heading of two Debian manuals finds the text below it on its page; the heading itself is cut out."""
    found: dict[str, str] = {}
    for path in manuals(data):
        for title, passage in sections(path):
            found.setdefault(passage, title)
    pairs = sorted(found.items())
    asked = random.Random(seed).sample(range(len(pairs)), min(most or len(pairs), len(pairs)))  # noqa: S311
    titles: dict[str, set[int]] = {}
    for row, (_, title) in enumerate(pairs):
        titles.setdefault(title.lower(), set()).add(row)
    return RetrievalSet(
        name="manual",
        kind=Kind.TEXT,
        queries=[(pairs[row][1],) for row in asked],
        gallery=[(passage,) for passage, _ in pairs],
        relevant=[titles[pairs[row][1].lower()] for row in asked],
        seed=seed,
        note="Debian Reference and New Maintainers' Guide (GPL-2+, evaluation only): a heading asks for its text",
    )


def manuals(data: Path) -> list[Path]:
    """The PDFs of both manuals."""
    packages = (sources.DEBIAN_REFERENCE, sources.MAINT_GUIDE)
    return [next(sources.unpack(package, data).rglob("*.en.pdf")) for package in packages]


def sections(path: Path) -> Iterator[tuple[str, str]]:
    """Each outline entry's title, and what follows the heading on its page."""
    document = pdfium.PdfDocument(path)
    try:
        pages: dict[int, str] = {}
        for entry in document.get_toc():
            dest, title = entry.get_dest(), " ".join(entry.get_title().split())
            index = dest.get_index() if dest else None
            if index is None:
                continue
            if index not in pages:
                pages[index] = page_text(document, index)
            passage = _below(title, pages[index])
            if passage:
                yield title, passage
    finally:
        document.close()


def page_text(document: pdfium.PdfDocument, index: int) -> str:
    """A page's text on one line, without the running head."""
    page = document[index]
    text = page.get_textpage()
    try:
        lines = text.get_text_bounded().splitlines()
    finally:
        text.close()
        page.close()
    return " ".join(" ".join(lines[1:]).split())


def _below(title: str, text: str) -> str | None:
    """The passage after the heading up to the length of a chunk, None where it cannot be told or is too short."""
    bare = _NUMBER.sub("", title)
    at = text.find(bare)
    if at < 0 or len(bare) < 4:
        return None
    passage = text[at + len(bare) :].strip()[:_MOST]
    return passage if len(passage) >= _LEAST else None
