"""Baselines that every trained model is shown beside."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def knn_transfer(
    features: Vectors, captions: Vectors, neighbours: int = 10, components: int = 256, sharpness: float = 20.0
) -> Callable[[Vectors], Vectors]:
    """A picture's vector is the mean caption of the training pictures that look most like it.

    Args:
        features: float32 `[pictures, features]` of the training pictures.
        captions: float32 `[pictures, dim]`, a vector of each one's captions.
        neighbours: pictures that are averaged.
        components: whitened principal components in which likeness is the cosine.
        sharpness: of the softmax over likeness that weighs them.

    Returns:
        Features `[pictures, features]` to vectors `[pictures, dim]`.
    """
    mean = features.mean(0)
    _, values, rows = np.linalg.svd(features - mean, full_matrices=False)
    kept = min(components, len(values))
    basis = (rows[:kept] / values[:kept, None]).T

    def whiten(x: Vectors) -> Vectors:
        reduced = (x - mean) @ basis
        return np.asarray(reduced / np.linalg.norm(reduced, axis=1, keepdims=True), np.float32)

    bank = whiten(features)

    def embed(x: Vectors) -> Vectors:
        likeness = whiten(x) @ bank.T
        near = np.argsort(-likeness, axis=1, kind="stable")[:, :neighbours]
        weights = np.exp(sharpness * (np.take_along_axis(likeness, near, 1) - 1))
        weights /= weights.sum(1, keepdims=True)
        return np.asarray((captions[near] * weights[..., None]).sum(1), np.float32)

    return embed
