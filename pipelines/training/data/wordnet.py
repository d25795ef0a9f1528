"""WordNet's glosses and example sentences: text pairs, and sentences to speak."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipelines.training.data import sources

_PARTS = ("noun", "verb", "adj", "adv")
_EXAMPLE = re.compile(r'"([^"]+)"')


@dataclass(frozen=True, slots=True)
class Synset:
    """A meaning: its words, what it means, sentences that use it, and whether it is a thing's."""

    lemmas: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]
    noun: bool = False


def synsets(work: Path) -> Iterator[Synset]:
    """Every meaning in the files' order: nouns, verbs, adjectives, adverbs."""
    root = sources.unpack(sources.WORDNET, work) / "usr/share/wordnet"
    for part in _PARTS:
        for line in (root / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if not line.startswith("  "):
                yield _synset(line, noun=part == "noun")


def sentences(work: Path, least_words: int = 4, most_words: int = 20) -> list[str]:
    """Distinct example sentences of a length that is spoken in seconds."""
    found = (example for s in synsets(work) for example in s.examples)
    return list(dict.fromkeys(e for e in found if least_words <= len(e.split()) <= most_words))


def _synset(line: str, *, noun: bool) -> Synset:
    data, _, gloss = line.partition(" | ")
    fields = data.split()
    count = int(fields[3], 16)
    lemmas = tuple(re.sub(r"\(\w+\)$", "", w).replace("_", " ") for w in fields[4 : 4 + 2 * count : 2])
    definition = gloss.partition('"')[0].strip(" ;")
    examples = tuple(e.strip() for e in _EXAMPLE.findall(gloss))
    return Synset(lemmas, definition, examples, noun)
