"""Held-out pictures by head noun: a noun is seen in training or tested, never both."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from pipelines.training.data.pictures import Picture

FOLDS = 8
_WORD = re.compile(r"[a-z]+")


def head_noun(name: str) -> str:
    """The last word before a comma, a bracket or a preposition: `red apple with leaf` has `apple`."""
    phrase = re.split(r"[,(]| with | of | in | on | and | for | at ", name.lower())[0]
    words = _WORD.findall(phrase) or _WORD.findall(name.lower())
    return _singular(words[-1]) if words else ""


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def held_out(noun: str) -> bool:
    """Whether a noun is kept for testing: one of eight, by its digest."""
    return _digest(noun) % FOLDS == 0


def fold(name: str, folds: int) -> int:
    """The fold of a training picture, by its noun and independent of the test split."""
    return _digest(head_noun(name)) // FOLDS % folds


def _digest(noun: str) -> int:
    return int(hashlib.md5(noun.encode(), usedforsecurity=False).hexdigest(), 16)


def split(pictures: Iterable[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Training and test pictures; one whose other words name a test noun is in neither."""
    items = list(pictures)
    tested = {noun for p in items if held_out(noun := head_noun(p.name))}
    train: list[Picture] = []
    test: list[Picture] = []
    for p in items:
        words = {_singular(w) for text in (p.name, *p.keywords) for w in _WORD.findall(text.lower())}
        if head_noun(p.name) in tested:
            test.append(p)
        elif not words & tested:
            train.append(p)
    return train, test
