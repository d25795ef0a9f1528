"""Chunks of text on natural boundaries, within a token budget, from a stream of any length.

Libraries of this kind want the whole text in memory; semantic-text-splitter also repeats only whole sentences
or paragraphs that fit the overlap (so mostly nothing), and semchunk calls the tokenizer dozens of times a chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import regex

from operators.model.contract import TextCounter

_BOUNDARIES = tuple(
    regex.compile(pattern, regex.REVERSE)
    for pattern in (
        r"(?=\r?\n[^\S\n]*\n)|(?=\n#{1,6}[ \t])",
        r"(?=\r?\n)",
        r"(?<=[.!?…])[\"'”’)\]]*(?=\s)|(?<=[。！？])",
        r"(?=\s)",
    )
)
"""Where a chunk may end, best first: a blank line or heading, a line, a sentence, a space; found from the end."""
_IN_A_LINE = _BOUNDARIES[2:]

_NOT_SPACE = re.compile(r"\S")
_SPACE = re.compile(r"\s+")
_CLUSTER = regex.compile(r"\X")
"""What a reader takes for one character: a letter with its accents, an emoji of several."""
_CLUSTER_CHARS = 32
_LOOKAHEAD = 8
_CHARS_PER_TOKEN = 16
"""Characters that one token may take on average: some tokenizers make one token of a megabyte of base64."""
_SHORT = 4
"""Characters for each token of the budget, with which a text most likely fits."""
_HELD_CHARS = 1 << 16
"""Characters that are tokenized at once, at least: chunks are cut out of them without counting again."""
_SEPARATORS = " \n\t\r"
"""Spaces that every tokenizer which splits at spaces takes for one."""
_GAP = 4096
"""Blank characters after which nothing is repeated."""


def whole_characters(text: str) -> str:
    """The text without lone surrogates, which no encoding has: pairs are joined, the others are U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


@dataclass(frozen=True, slots=True)
class Chunk:
    """`text` is the characters `[start, end)` of the stream, of so many tokens; neither end is a space."""

    start: int
    end: int
    text: str
    tokens: int


def chunk(blocks: Iterable[str], counter: TextCounter, budget: int, overlap: int) -> Iterator[Chunk]:
    """Cut a text into chunks of at most `budget` tokens that repeat about `overlap` tokens of the one before.

    Every character that is not a space is in some chunk, and both ends of the chunks ascend. The blocks are
    the text in any portions: they do not change the result, and about one of them is held at a time. A lone
    character of more tokens than the budget is a chunk by itself, the only kind that exceeds it. An overlap
    is at most half of a chunk.
    """
    return iter(_Chunker(iter(blocks), counter, budget, overlap))


class Measured:
    """A whole text whose parts are counted and cut again and again: where its model allows, it is tokenized once."""

    def __init__(self, text: str, counter: TextCounter) -> None:
        self.text, self.counter = text, counter
        self.starts = _starts(text, counter) if counter.splits_at_spaces else None

    def count(self, start: int, end: int) -> int:
        """Tokens of the characters `[start, end)`, exact where spaces are around them."""
        if self.starts is None:
            return self.counter.count(self.text[start:end])
        first, last = np.searchsorted(self.starts, (start, end))
        return int(last - first)

    def chunks(self, start: int, end: int, budget: int, overlap: int) -> Iterator[Chunk]:
        """As `chunk` of the characters `[start, end)`; chunks count characters from `start` on."""
        chunker = _Chunker(iter([self.text[start:end]]), self.counter, budget, overlap)
        if self.starts is not None:
            first, last = np.searchsorted(self.starts, (start, end))
            chunker.starts, chunker.known = self.starts[first:last] - start, end - start
            chunker.after_space = start == 0 or self.text[start - 1] in _SEPARATORS
        return iter(chunker)


def _starts(text: str, counter: TextCounter) -> npt.NDArray[np.int32]:
    """Where the tokens of a text start; a portion at a time, as a tokenizer takes a hundred times the text."""
    found, at = [np.zeros(0, np.int32)], 0
    while at < len(text):
        window = text[at : at + _HELD_CHARS]
        if at + len(window) < len(text):
            window = window[: _last_space(window) or len(window)]
        found.append((counter.offsets(window)[:, 0] + at).astype(np.int32))
        at += len(window)
    return np.concatenate(found)


def _last_space(window: str, low: int = 0) -> int:
    """Where the last space of a window is, from `low` on; 0 without one."""
    return max(0, *(window.rfind(space, low) for space in _SEPARATORS))


class _Chunker:
    def __init__(self, blocks: Iterator[str], counter: TextCounter, budget: int, overlap: int) -> None:
        self.blocks, self.counter = blocks, counter
        self.budget, self.overlap = budget, overlap
        self.most = budget * _CHARS_PER_TOKEN
        self.text, self.base = "", 0
        self.at = 0
        self.covered = 0
        self.after_space = True
        self.starts: npt.NDArray[np.integer] = np.zeros(0, np.int64)
        self.known = self.tokens = 0

    def __iter__(self) -> Iterator[Chunk]:
        while self._skip_space():
            end, repeat = self._cut()
            start = self.base + self.at
            yield Chunk(start, start + end, self.text[self.at : self.at + end], self.tokens)
            self._advance(end, repeat)

    def _fill(self, size: int) -> None:
        """Have `size` characters from `at` on, or all that are left."""
        if len(self.text) - self.at >= size:
            return
        held, missing = [self.text[self.at :]], size - (len(self.text) - self.at)
        while missing > 0 and (block := next(self.blocks, None)) is not None:
            held.append(block)
            missing -= len(block)
        self.text, self.base, self.at = "".join(held), self.base + self.at, 0

    def _skip_space(self) -> bool:
        """Move to the next character that is not a space; False at the end of the text."""
        while (found := _NOT_SPACE.search(self.text, self.at)) is None:
            self._move(len(self.text) - self.at)
            self._fill(1)
            if not self.text:
                return False
        self.covered = max(0, self.covered - (found.start() - self.at))
        self._move(found.start() - self.at)
        return True

    def _move(self, step: int) -> None:
        if step:
            self.after_space = self.text[self.at + step - 1] in _SEPARATORS
            self.at += step

    def _tokens(self) -> npt.NDArray[np.integer]:
        """Where tokens start, from `at` on: one more than the budget where the next `most` characters have it."""
        here = self.base + self.at
        starts = self.starts[np.searchsorted(self.starts, here) :]
        if len(starts) > self.budget or here + self.most <= self.known or self._ends(self.known - here):
            return starts[: self.budget + 1] - here
        self._fill((size := max(_HELD_CHARS, 2 * self.most)) + 1)
        window = self.text[self.at : self.at + size]
        if not self._ends(size):
            # A word that the window's end cuts would be counted as it is nowhere else.
            window = window[: _last_space(window, size - self.most) or size]
        here = self.base + self.at
        starts = self.counter.offsets(window)[:, 0]
        self.starts, self.known, self.after_space = starts + here, here + len(window), True
        return starts[: self.budget + 1]

    def _ends(self, size: int) -> bool:
        """Whether the text has no more than `size` characters from `at` on; those must have been asked for."""
        return len(self.text) - self.at <= size

    def _cut(self) -> tuple[int, int]:
        """The length of the chunk that starts at `at`, and where in it the next one may start."""
        if (rest := self._rest()) is not None:
            return rest, rest
        starts = self._tokens()
        limit = min(int(starts[self.budget]) if len(starts) > self.budget else self.most, self.most)
        self._fill(limit + _LOOKAHEAD + 1)
        whole = len(starts) <= self.budget and self._ends(limit)
        window = self.text[self.at : self.at + limit + _LOOKAHEAD]
        end = len(window[: len(window) if whole else self._boundary(window, limit)].rstrip())
        if self._as_counted(end):
            starts = starts[: np.searchsorted(starts, end)]
        else:
            # Text cut out of its context may take more tokens than it did inside.
            while len(starts := self.counter.offsets(window[:end])[:, 0]) > self.budget and end > 1:
                end = self._boundary(window, min(int(starts[self.budget]), end - 1))
                end = len(window[:end].rstrip())
        if end <= self.covered:
            self._move(self.covered)
            self.covered = 0
            self._skip_space()
            return self._cut()
        self.tokens = len(starts)
        keep = len(starts) - min(self.overlap, len(starts) // 2)
        return end, end if keep == len(starts) else _repeat(window[:end], int(starts[keep]))

    def _rest(self) -> int | None:
        """The length of all that is left where it fits: a short text needs no places of tokens, only their number."""
        short = _SHORT * self.budget
        self._fill(short + 1)
        if self.covered or not self._ends(short) or self.base + self.at < self.known:
            return None
        rest = self.text[self.at :].rstrip()
        self.tokens = self.counter.count(rest)
        return len(rest) if self.tokens <= self.budget else None

    def _as_counted(self, end: int) -> bool:
        """Whether `end` characters from `at` on have by themselves the tokens that they have in the window."""
        if not self.counter.splits_at_spaces or not self.after_space:
            return False
        return self._ends(end) or self.text[self.at + end] in _SEPARATORS

    def _boundary(self, window: str, limit: int) -> int:
        """The best place to end in the latter half of `limit` characters, beyond what the last chunk had."""
        limit = max(1, limit)
        low = max(limit // 2, self.covered)
        for pattern in _BOUNDARIES if "\n" in window[low:] else _IN_A_LINE:
            for found in pattern.finditer(window, low, min(len(window), limit + _LOOKAHEAD)):
                end: int = found.end()
                if low < end <= limit:
                    return end
        whole = _cluster_start(window, limit)
        return whole if whole > low else limit

    def _advance(self, end: int, repeat: int) -> None:
        self._fill(end + _GAP)
        blank = not self.text[self.at + end : self.at + end + _GAP].strip()
        step = end if blank or repeat <= 0 else repeat
        self._move(step)
        self.covered = end - step


def _repeat(text: str, at: int) -> int:
    """Where to repeat a chunk from: the first start of a word from `at` on, in its latter half.

    Text without spaces is repeated from `at` itself.
    """
    low = max(at, len(text) // 2)
    if text[low - 1].isspace() or text[low].isspace():
        return low
    found = _SPACE.search(text, low)
    if found is not None:
        return found.end()
    return _cluster_start(text, at) if low == at else len(text)


def _cluster_start(text: str, at: int) -> int:
    """Where the cluster of characters begins that `at` lies in; `at` itself between two."""
    if at >= len(text) or text[at - 1 : at + 1].isascii():
        return at
    first = max(0, at - _CLUSTER_CHARS)
    return max((m.start() for m in _CLUSTER.finditer(text, first, at + 1) if m.start() <= at), default=at)
