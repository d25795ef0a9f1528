"""A linear bridge between two embedding spaces, fitted on rows that both hold: a second opinion on what has not moved.

Ridge regression carries the old model's vectors to the new one's. Its images are too poor to be searched alone, and
they say something that the old model's own scores do not: what the new model's query is near to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from pipelines.vectors import Matrix, unit

_FOLDS = 5
_RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0)
LEAST = 100
"""Rows of both spaces that a bridge is fitted on, at least."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """`old_mean` `[old]`, `new_mean` `[new]`, `weights` `[old, new]`; `fit` is the mean cosine on rows left out."""

    old_mean: Matrix
    new_mean: Matrix
    weights: Matrix
    fit: float

    @classmethod
    def between(cls, old: Matrix, new: Matrix, seed: int = 0) -> tuple[Self, Matrix]:
        """The bridge, and what it makes of each row when that row's fold is left out: `[rows, new]`, unit vectors.

        Args:
            old: unit vectors `[rows, old]`.
            new: those of the same rows in the new space, `[rows, new]`.
            seed: of the folds.
        """
        folds = np.random.default_rng(seed).permutation(len(old)) % _FOLDS
        best, images = -1.0, np.zeros_like(new)
        chosen = _RIDGES[0]
        for ridge in _RIDGES:
            found = np.zeros_like(new)
            for fold in range(_FOLDS):
                left = folds == fold
                found[left] = cls._fitted(old[~left], new[~left], ridge, 0.0).images(old[left])
            cosine = float(np.mean(np.sum(found * new, axis=1)))
            if cosine > best:
                best, images, chosen = cosine, found, ridge
        return cls._fitted(old, new, chosen, best), images

    @classmethod
    def _fitted(cls, old: Matrix, new: Matrix, ridge: float, fit: float) -> Self:
        old_mean, new_mean = old.mean(axis=0), new.mean(axis=0)
        x, y = (old - old_mean).astype(np.float64), (new - new_mean).astype(np.float64)
        weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
        return cls(old_mean, new_mean, weights.astype(np.float32), fit)

    def images(self, old: Matrix) -> Matrix:
        """Vectors of the old space `[rows, old]` as unit vectors of the new one, `[rows, new]`."""
        made = (old - self.old_mean) @ self.weights + self.new_mean
        return unit(made)

    def asked(self, query: Matrix) -> Matrix:
        """The direction `[old]` in which rows of the old space lie whose images are near a new query `[new]`."""
        found = self.weights @ query
        return np.asarray(found / max(float(np.linalg.norm(found)), 1e-12), np.float32)


def joint(scores: npt.ArrayLike, second: npt.ArrayLike, *sample: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """One query's scores `[n]` by the old model and by the bridge as one: how far each is above those of a sample.

    Args:
        scores: cosines in the old space.
        second: cosines of the images with the new model's query.
        sample: both of rows that the spaces share, `[m]` each, the second by a bridge that did not see them.
    """
    found = np.zeros(len(np.atleast_1d(np.asarray(scores))), np.float64)
    for values, known in zip((scores, second), sample, strict=True):
        usual = np.asarray(known, np.float64)
        found += (np.asarray(values, np.float64) - usual.mean()) / max(float(usual.std()), 1e-9)
    return found
