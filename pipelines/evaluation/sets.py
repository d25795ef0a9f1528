"""Retrieval sets as data: what is asked, what is searched, what answers, and what chance would reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path

from pipelines.evaluation.items import Item
from schemas.errors import UsageError


class Kind(StrEnum):
    """What is asked of what."""

    TEXT = "text"
    PICTURE = "picture"
    SPEECH = "speech"
    COMPOSED = "composed"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSet:
    """`relevant`: for each query the gallery rows that answer it. `note`: where it comes from, what was held out."""

    name: str
    kind: Kind
    queries: Sequence[Item]
    gallery: Sequence[Item]
    relevant: Sequence[set[int]]
    seed: int
    note: str

    def __post_init__(self) -> None:
        if len(self.queries) != len(self.relevant) or not all(self.relevant):
            raise ValueError(f"set '{self.name}': every query needs an answer")


Build = Callable[[Path, int, int | None], RetrievalSet]
"""From the data folder, a seed and the most queries (None: all)."""

_HOME = "pipelines.evaluation"
SETS = {
    "wordnet": f"{_HOME}.texts:wordnet",
    "manual": f"{_HOME}.texts:manual",
    "tuxpaint": f"{_HOME}.pictures:tuxpaint",
    "emoji": f"{_HOME}.pictures:emoji",
    "clip-art": f"{_HOME}.pictures:clip_art",
    "unseen-voices": f"{_HOME}.speech:unseen_voices",
    "human-english": f"{_HOME}.speech:human_english",
    "picture+words": f"{_HOME}.mixtures:picture_and_words",
    "speech+words": f"{_HOME}.mixtures:speech_and_words",
    "page+question": f"{_HOME}.mixtures:page_and_question",
}
"""Name of a set to what builds it."""


def build(name: str, data: Path, seed: int = 0, most: int | None = None) -> RetrievalSet:
    """A set by its name; packages are fetched into `data` when they are not there.

    Raises:
        UsageError: no such set.
        SourceError: a package cannot be fetched, or speech cannot be made.
    """
    if name not in SETS:
        raise UsageError(f"no evaluation set '{name}': known are {', '.join(SETS)}")
    module, _, function = SETS[name].partition(":")
    make: Build = getattr(import_module(module), function)
    return make(data, seed, most)
