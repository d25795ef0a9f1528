"""Near-duplicates as stars: a representative, and rows that are near to it.

Connected components would chain: a is near b, b near c, and so on to a row that is like none of the first. In a star
each row is near its representative, and what is left when all others go is one row of everything.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

_BLOCK = 512
_GALLERY = 1 << 15
ROUNDING = 1e-6
"""What float32 takes from the cosine of two equal vectors: so much below the threshold is still at it."""


@dataclass(frozen=True, slots=True)
class Cells:
    """Rows ordered by cell: those of cell c are `starts[c]` to `starts[c + 1]`; `probes` [rows, p] are each row's
    nearest cells, its own first.
    """

    starts: Rows
    probes: npt.NDArray[np.int32]

    @classmethod
    def one(cls, rows: int) -> Cells:
        """All rows in one cell: every pair may be compared."""
        return cls(np.array([0, rows]), np.zeros((rows, 1), np.int32))

    def of_rows(self) -> npt.NDArray[np.int32]:
        """The cell of each row, int32 `[rows]`."""
        return self.probes[:, 0]


@dataclass(frozen=True, slots=True)
class Stars:
    """Of each row its representative, itself if it is one, and the cosine of both: int64 and float32 `[rows]`."""

    leader: Rows
    score: Vectors


@dataclass(slots=True)
class _Best:
    """The nearest representative of each row of a block so far; ties go to the first."""

    score: Vectors
    leader: Rows

    @classmethod
    def of(cls, rows: int) -> _Best:
        return cls(np.full(rows, -np.inf, np.float32), np.full(rows, -1))

    def look(self, block: Vectors, asking: Rows, gallery: Vectors, leaders: Rows) -> None:
        """Compare rows of the block with representatives `[n, width]`, a bounded number at a time."""
        for start in range(0, len(gallery), _GALLERY):
            scores = block[asking] @ gallery[start : start + _GALLERY].T
            near = scores.argmax(axis=1)
            score = scores[np.arange(len(asking)), near]
            better = score > self.score[asking]
            self.score[asking[better]] = score[better]
            self.leader[asking[better]] = leaders[start + near[better]]


def stars(vectors: Vectors, threshold: float, cells: Cells) -> Stars:
    """Go through the rows in order: each joins the nearest representative before it, or becomes one.

    With one cell no two representatives are at or over the threshold. With several, a row meets the representatives
    of its own cell and of those of its probes that come before. Beside the vectors it takes 12 bytes a row and a
    block of scores.

    Args:
        vectors: unit vectors `[rows, width]`, in the order of `cells`; they are overwritten.
        threshold: the least cosine.
        cells: which rows are compared.
    """
    found = Stars(np.arange(len(vectors)), np.ones(len(vectors), np.float32))
    least = threshold - ROUNDING
    leaders: list[Rows] = []
    for cell, (start, end) in enumerate(pairwise(cells.starts.tolist())):
        own, count = np.empty(end - start, np.int64), 0
        for first in range(start, end, _BLOCK):
            last = min(first + _BLOCK, end)
            block, best = np.array(vectors[first:last]), _Best.of(last - first)
            probes = cells.probes[first:last]
            for other in np.unique(probes[probes < cell]).tolist():
                asking, base = np.flatnonzero((probes == other).any(axis=1)), int(cells.starts[other])
                best.look(block, asking, vectors[base : base + len(leaders[other])], leaders[other])
            best.look(block, np.arange(last - first), vectors[start : start + count], own[:count])
            leads = _settle(block, best, least, first)
            # Representatives move to the front of their cell, over rows that are done: no second copy of them.
            vectors[start + count : start + count + len(leads)] = block[leads]
            own[count : count + len(leads)] = first + leads
            count += len(leads)
            joined = best.score >= least
            found.leader[first:last][joined] = best.leader[joined]
            found.score[first:last][joined] = np.minimum(best.score[joined], 1)
        leaders.append(own[:count].copy())
    return found


def _settle(block: Vectors, best: _Best, least: float, first: int) -> Rows:
    """Which rows of a block are representatives; the others get the nearest one in `best`."""
    scores = block @ block.T
    near = np.tril(scores >= least, -1)
    leads = best.score < least
    for row in np.flatnonzero(near.any(axis=1)).tolist():
        mine = np.flatnonzero(near[row] & leads)
        if not len(mine):
            continue
        leads[row] = False
        nearest = mine[scores[row, mine].argmax()]
        if scores[row, nearest] > best.score[row]:
            best.score[row], best.leader[row] = scores[row, nearest], first + nearest
    return np.flatnonzero(leads)


def recall(vectors: Vectors, threshold: float, cells: Cells, asked: Rows) -> float | None:
    """Of the pairs at or over the threshold with one of the `asked` rows, the share that `stars` may compare.

    Every row is read once. None when there is no such pair.
    """
    least, of_rows = threshold - ROUNDING, cells.of_rows()
    queries = np.array(vectors[asked])
    pairs = compared = 0
    for start in range(0, len(vectors), _GALLERY):
        hit, near = np.nonzero(queries @ vectors[start : start + _GALLERY].T >= least)
        row, other = asked[hit], near + start
        row, other = row[row != other], other[row != other]
        later, earlier = np.maximum(row, other), np.minimum(row, other)
        pairs += len(row)
        compared += int((cells.probes[later] == of_rows[earlier][:, None]).any(axis=1).sum())
    return compared / pairs if pairs else None
