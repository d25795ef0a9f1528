"""Packed sequences: rows of any length one behind the other, with nothing between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from operators.model.batching import longest_first


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbours of one length: `count` sequences of `length` tokens from token `start` on."""

    start: int
    count: int
    length: int

    @property
    def end(self) -> int:
        """The token behind the last one."""
        return self.start + self.count * self.length


@dataclass(frozen=True, slots=True)
class Packed:
    """Where each sequence lies in a pack; sequences of one length should be neighbours, as they share their calls."""

    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Of all sequences."""
        return sum(self.lengths)

    @property
    def runs(self) -> list[Run]:
        """Neighbours of one length, in order."""
        found: list[Run] = []
        start = 0
        for length, members in groupby(self.lengths):
            found.append(Run(start, len(list(members)), length))
            start = found[-1].end
        return found

    def offsets(self) -> npt.NDArray[np.int32]:
        """The first token of each sequence, and behind them the end: int32 `[sequences + 1]`."""
        return np.concatenate([[0], np.cumsum(self.lengths)]).astype(np.int32)

    def positions(self) -> npt.NDArray[np.int64]:
        """Each token's place in its own sequence: int64 `[tokens]`."""
        return np.arange(self.tokens) - np.repeat(self.offsets()[:-1].astype(np.int64), self.lengths)


def packs(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Split rows into packs of at most `budget` tokens; a row longer than that is a pack of its own.

    Longest rows first, so that a pack which does not fit the device fails at the start, and rows of one length are
    neighbours; ties keep the caller's order.

    Raises:
        ValueError: the budget is below 1.
    """
    found: list[list[int]] = []
    room = 0
    for row in longest_first(lengths, budget):
        if not found or lengths[row] > room:
            found.append([])
            room = budget
        found[-1].append(row)
        room -= lengths[row]
    return found
