"""Spherical k-means: centres on a sample, and the nearest centres of any rows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]

_ROUNDS = 5
_BATCH = 4096
_BLOCK_SCORES = 1 << 24


def centres(vectors: Vectors, k: int, seed: int) -> Vectors:
    """Unit vectors `[k, width]` around which a sample of unit vectors `[rows, width]` lies; `k <= rows`.

    k-means, in mini-batches where one does not hold all rows, then rounds in which a centre is the direction of its
    rows' sum (Dhillon and Modha, 2001). The same rows in the same order and the same seed give the same centres on
    the same machine.
    """
    from scipy.sparse import csr_array
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.preprocessing import normalize

    few = len(vectors) <= _BATCH
    means = KMeans(k, n_init=3) if few else MiniBatchKMeans(k, n_init=3, batch_size=_BATCH)
    fitted = means.set_params(random_state=seed).fit(vectors)
    found = np.asarray(normalize(fitted.cluster_centers_), np.float32)
    rows = np.arange(len(vectors))
    for _ in range(_ROUNDS):
        own = nearest(vectors, found, 1)[0][:, 0]
        members = csr_array((np.ones(len(rows), np.float32), (own, rows)), shape=(k, len(rows)))
        sums = members @ vectors
        filled = np.linalg.norm(sums, axis=1) > 0
        found[filled] = normalize(sums[filled])
    return found


def nearest(vectors: Vectors, around: Vectors, count: int) -> tuple[npt.NDArray[np.int32], Vectors]:
    """The nearest `count` centres of each row, nearest first, and their cosines: int32, float32 `[rows, count]`."""
    step = max(1, _BLOCK_SCORES // len(around))
    best = np.empty((len(vectors), count), np.int32)
    cosines = np.empty((len(vectors), count), np.float32)
    for start in range(0, len(vectors), step):
        scores = vectors[start : start + step] @ around.T
        top = np.sort(np.argpartition(-scores, count - 1, axis=1)[:, :count], axis=1)
        values = np.take_along_axis(scores, top, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        best[start : start + step] = np.take_along_axis(top, order, axis=1)
        cosines[start : start + step] = np.take_along_axis(values, order, axis=1)
    return best, cosines
