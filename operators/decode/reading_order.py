"""The order in which people read the lines of a page, where the page draws them in another.

The two rules are Breuel's ("High Performance Document Layout Analysis", 2003): a line comes before one below it that
shares some of its width, and a column before what stands to its right, down to the next line across both. Of the
orders that break neither, the one nearest to the drawn one is taken, so that what is drawn well stays as it is.
"""

from __future__ import annotations

import heapq

import numpy as np
import numpy.typing as npt

Boxes = npt.NDArray[np.float64]
_Relation = npt.NDArray[np.bool_]

MOST_LINES = 600
"""Beyond them a page is a plan or a table of numbers, whose drawn order is as good as any."""

_PROSE = 10.0
"""Widths of a line over its height from which it is part of running text: shorter ones may be cells of a table,
which are read across."""
_TOUCH = 0.3


def reading_order(boxes: Boxes) -> list[int]:
    """Indices of the lines in the order of reading.

    Args:
        boxes: float64 `[lines, 4]`, left, bottom, right and top of each line in the order drawn, y upwards.
    """
    count = len(boxes)
    if not 1 < count <= MOST_LINES or _plain(boxes):
        return list(range(count))
    before = _before(boxes)
    if not np.tril(before).any():
        return list(range(count))
    return _sorted(before)


def merged(boxes: Boxes) -> list[int]:
    """Pieces drawn one after the other that make a line: the index of each line's first piece.

    A gap wider than a line is high parts two lines.

    Args:
        boxes: as `reading_order` takes them.
    """
    starts: list[int] = []
    low = high = end = 0.0
    for index, (left, bottom, right, top) in enumerate(boxes.tolist()):
        shared = min(top, high) - max(bottom, low)
        tall = max(top - bottom, high - low)
        if starts and shared >= min(top - bottom, high - low) / 2 and -tall < left - end < tall:
            low, high, end = min(low, bottom), max(high, top), max(end, right)
        else:
            starts.append(index)
            low, high, end = bottom, top, right
    return starts


def _plain(boxes: Boxes) -> bool:
    """Whether it is one column drawn downwards: most pages are, and nothing else need be asked."""
    left, bottom, right, top = boxes.T
    return bool(left.max() < right.min() and (top[1:] <= bottom[:-1]).all())


def _before(boxes: Boxes) -> _Relation:
    """`[lines, lines]`: whether the first must be read before the second."""
    left, bottom, right, top = boxes.T
    width, height = right - left, top - bottom
    # Of lines that run up or down the page nothing is known.
    level = height <= 3 * width
    level = level[:, None] & level
    shares = (np.minimum(right[:, None], right) > np.maximum(left[:, None], left)) & level
    above = bottom[:, None] >= top - _TOUCH * np.minimum(height[:, None], height)
    prose = _prose(boxes, shares & above)
    beside = (right[:, None] <= left) & prose[:, None] & prose & level
    if beside.any():
        beside &= ~_parted(beside, shares, (bottom + top) / 2)
    np.fill_diagonal(above, False)
    before: _Relation = (shares & above) | beside
    return before


def _prose(boxes: Boxes, over: _Relation) -> npt.NDArray[np.bool_]:
    """Which lines are running text: long ones, and short ones right below such a line."""
    left, bottom, right, top = boxes.T
    prose: npt.NDArray[np.bool_] = (right - left) >= _PROSE * (top - bottom)
    near = over & (bottom[:, None] - top < (top - bottom)[:, None])
    for line in np.argsort(-top):
        if not prose[line]:
            prose[line] = (near[:, line] & prose).any()
    return prose


def _parted(beside: _Relation, shares: _Relation, middle: npt.NDArray[np.float64]) -> _Relation:
    """Which pairs of lines have a line between them, in height, that reaches from under one to under the other."""
    lefts, rights = beside.any(axis=1), beside.any(axis=0)
    parted = np.zeros_like(beside)
    for line in np.flatnonzero((shares & lefts).any(axis=1) & (shares & rights).any(axis=1)):
        across = shares[line, :, None] & shares[line, None, :]
        higher = middle > middle[line]
        lower = middle < middle[line]
        parted |= across & ((higher[:, None] & lower) | (lower[:, None] & higher))
    return parted


def _sorted(before: _Relation) -> list[int]:
    """A topological order; of what may come next the first drawn, also where the rules contradict each other."""
    waits = before.sum(axis=0)
    ready = [int(line) for line in np.flatnonzero(waits == 0)]
    waiting = set(range(len(before))) - set(ready)
    order: list[int] = []
    while ready or waiting:
        if not ready:
            ready.append(min(waiting))
            waiting.discard(ready[0])
        line = heapq.heappop(ready)
        order.append(line)
        waits[before[line]] -= 1
        for other in np.flatnonzero(before[line] & (waits == 0)):
            if int(other) in waiting:
                waiting.discard(int(other))
                heapq.heappush(ready, int(other))
    return order
