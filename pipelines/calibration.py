"""Scores of one embedding space as scores of another: a monotone map, fitted on rows that both spaces hold.

A row is as remarkable for a query in one space as its score is rare there, so the map carries each score to the one
that is as rare in the other space, for the same query among the same rows. Below the highest tenth that is the
quantile of the sample. The best rows of a large space lie beyond every sample, where a fitted step function, and so
isotonic regression, is flat: the tail is an exponential one, as in peaks over a threshold, whose mean excess is
fitted (Coles, An Introduction to Statistical Modeling of Extreme Values, 4.2, with shape 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

_TAIL = 0.1
_LEAST_TAIL = 5
_KNOTS = 101
LEAST = 20
"""Rows of a sample that make a map worth having."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A map that never falls: through `(old[i], new[i])` up to the last knot, with a slope beyond it."""

    old: Floats
    new: Floats
    slope: float

    @classmethod
    def fit(cls, old: npt.ArrayLike, new: npt.ArrayLike) -> Self:
        """The map that one query's scores of the same rows give.

        Args:
            old: scores in the space to be mapped from, `[n]`, finite.
            new: scores in the space to be mapped to, `[m]`; two recipes may cut the rows otherwise.

        Raises:
            ValueError: one of them has fewer than `LEAST` scores, or no two different ones.
        """
        ours, theirs = (np.sort(np.asarray(scores, np.float64)) for scores in (old, new))
        if min(len(ours), len(theirs)) < LEAST or ours[0] == ours[-1] or theirs[0] == theirs[-1]:
            raise ValueError("too few scores, or all the same: nothing to fit a map on")
        tail = max(_TAIL, _LEAST_TAIL / min(len(ours), len(theirs)))
        at = np.linspace(0.0, 1 - tail, _KNOTS)
        knots, targets = np.quantile(ours, at), np.quantile(theirs, at)
        keep = np.r_[np.diff(knots) > 0, True]
        excess = [_mean_excess(s, k[-1]) for s, k in ((ours, knots), (theirs, targets))]
        return cls(knots[keep], targets[keep], excess[1] / excess[0])

    def __call__(self, scores: npt.ArrayLike) -> Floats:
        """Scores of the new space, `[n]`, for scores of the old one, `[n]`."""
        given = np.asarray(scores, np.float64)
        inside = np.interp(given, self.old, self.new)
        beyond = np.maximum(given - self.old[-1], 0.0) + np.minimum(given - self.old[0], 0.0)
        return np.asarray(inside + beyond * self.slope, np.float64)


def _mean_excess(scores: Floats, threshold: float) -> float:
    over = scores[scores > threshold] - threshold
    return float(over.mean()) if len(over) else float(np.ptp(scores)) / len(scores)
