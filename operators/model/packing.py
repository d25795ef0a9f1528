"""Packed sequences: rows of any length one behind the other, with nothing between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from operators.model.batching import longest_first


@dataclass(frozen=True, slots=True)
class Bucket:
    """Neighbours of about one length, from token `start` on."""

    start: int
    lengths: tuple[int, ...]

    @property
    def count(self) -> int:
        """Sequences."""
        return len(self.lengths)

    @property
    def longest(self) -> int:
        """Tokens of the longest one."""
        return max(self.lengths)

    @property
    def end(self) -> int:
        """The token behind the last one."""
        return self.start + sum(self.lengths)

    @property
    def even(self) -> bool:
        """Whether all are of one length, and lie as a rectangle already."""
        return min(self.lengths) == self.longest

    def own(self) -> npt.NDArray[np.bool_]:
        """Which places of a padded sequence are its own: `[sequences, longest]`."""
        return np.arange(self.longest) < np.asarray(self.lengths)[:, None]

    def places(self) -> npt.NDArray[np.int64]:
        """The token at each place of a padded sequence, its last one beyond its end: `[sequences, longest]`."""
        lengths = np.asarray(self.lengths)
        ends = self.start + np.cumsum(lengths)
        shown = np.minimum(np.arange(self.longest), lengths[:, None] - 1)
        places: npt.NDArray[np.int64] = shown + (ends - lengths)[:, None]
        return places


@dataclass(frozen=True, slots=True)
class Packed:
    """Where each sequence lies in a pack; sequences of like lengths should be neighbours, as they share their calls."""

    lengths: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Of all sequences."""
        return sum(self.lengths)

    def buckets(self, spread: int = 0, share: float = 0.0) -> list[Bucket]:
        """Neighbours whose lengths differ by so many tokens at most, or by that share of the longest one; in order."""
        cuts = [0]
        longest = shortest = self.lengths[0]
        for row, length in enumerate(self.lengths):
            longest, shortest = max(longest, length), min(shortest, length)
            if longest - shortest > max(spread, share * longest):
                cuts.append(row)
                longest = shortest = length
        starts = self.offsets().tolist()
        return [Bucket(starts[a], self.lengths[a:b]) for a, b in pairwise([*cuts, len(self.lengths)])]

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
