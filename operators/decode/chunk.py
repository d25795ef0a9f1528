"""Chunks of text on natural boundaries, within a token budget, from a stream of any length.

Libraries of this kind want the whole text in memory; semantic-text-splitter also repeats only whole sentences
or paragraphs that fit the overlap (so mostly nothing), and semchunk calls the tokenizer dozens of times a chunk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import regex

from operators.model.contract import TextCounter

_BOUNDARIES = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?=\r?\n[^\S\n]*\n)|(?=\n#{1,6}[ \t])",
        r"(?=\r?\n)",
        r"(?<=[.!?…])[\"'”’)\]]*(?=\s)|(?<=[。！？])",
        r"(?=\s)",
    )
)
"""Where a chunk may end, best first: a blank line or heading, a line, a sentence, a space."""

_NOT_SPACE = re.compile(r"\S")
_SPACE = re.compile(r"\s+")
_CLUSTER = regex.compile(r"\X")
"""What a reader takes for one character: a letter with its accents, an emoji of several."""
_CLUSTER_CHARS = 32
_LOOKAHEAD = 8
_CHARS_PER_TOKEN = 16
"""Characters that one token may take on average: some tokenizers make one token of a megabyte of base64."""
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
    """`text` is the characters `[start, end)` of the stream; neither end is a space."""

    start: int
    end: int
    text: str


def chunk(blocks: Iterable[str], counter: TextCounter, budget: int, overlap: int) -> Iterator[Chunk]:
    """Cut a text into chunks of at most `budget` tokens that repeat about `overlap` tokens of the one before.

    Every character that is not a space is in some chunk, and both ends of the chunks ascend. The blocks are
    the text in any portions: they do not change the result, and about one of them is held at a time. A lone
    character of more tokens than the budget is a chunk by itself, the only kind that exceeds it. An overlap
    is at most half of a chunk.
    """
    return iter(_Chunker(iter(blocks), counter, budget, overlap))


class _Chunker:
    def __init__(self, blocks: Iterator[str], counter: TextCounter, budget: int, overlap: int) -> None:
        self.blocks, self.counter = blocks, counter
        self.budget, self.overlap = budget, overlap
        self.text, self.base = "", 0
        self.at = 0
        self.covered = 0
        self.window = budget * 5

    def __iter__(self) -> Iterator[Chunk]:
        while self._skip_space():
            end, repeat = self._cut()
            start = self.base + self.at
            yield Chunk(start, start + end, self.text[self.at : self.at + end])
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
            self.at = len(self.text)
            self._fill(1)
            if not self.text:
                return False
        self.covered = max(0, self.covered - (found.start() - self.at))
        self.at = found.start()
        return True

    def _cut(self) -> tuple[int, int]:
        """The length of the chunk that starts at `at`, and where in it the next one may start."""
        size, most = min(self.window, self.budget * _CHARS_PER_TOKEN), self.budget * _CHARS_PER_TOKEN
        while True:
            self._fill(size + 1)
            window = self.text[self.at : self.at + size]
            spans = self.counter.offsets(window)
            last = len(self.text) - self.at <= size
            if last or len(spans) > self.budget or size >= most:
                break
            size = min(2 * size, most)
        if len(spans) > self.budget:
            end = self._boundary(window, int(spans[self.budget][0]))
        else:
            end = len(window) if last else self._boundary(window, size)
        end = len(window[:end].rstrip())
        # Text cut out of its context may take more tokens than it did inside.
        while len(spans := self.counter.offsets(window[:end])) > self.budget and end > 1:
            end = self._boundary(window, min(int(spans[self.budget][0]), end - 1))
            end = len(window[:end].rstrip())
        if end <= self.covered:
            self.at, self.covered = self.at + self.covered, 0
            self._skip_space()
            return self._cut()
        self.window = int(1.3 * self.budget * end / max(1, len(spans))) + 16
        keep = len(spans) - min(self.overlap, len(spans) // 2)
        return end, end if keep == len(spans) else _repeat(window[:end], int(spans[keep][0]))

    def _boundary(self, window: str, limit: int) -> int:
        """The best place to end in the latter half of `limit` characters, beyond what the last chunk had."""
        limit = max(1, limit)
        low = max(limit // 2, self.covered)
        for pattern in _BOUNDARIES:
            ends = [m.end() for m in pattern.finditer(window, low, min(len(window), limit + _LOOKAHEAD))]
            fitting = [end for end in ends if low < end <= limit]
            if fitting:
                return fitting[-1]
        whole = _cluster_start(window, limit)
        return whole if whole > low else limit

    def _advance(self, end: int, repeat: int) -> None:
        self._fill(end + _GAP)
        blank = not self.text[self.at + end : self.at + end + _GAP].strip()
        step = end if blank or repeat <= 0 else repeat
        self.at, self.covered = self.at + step, end - step


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
