"""Vector columns as matrices, and which of their rows are near to which."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_LEAST_NORM = 1e-12
_ROWS = 512
"""Asked about at once."""
Matrix = npt.NDArray[np.float32]


def matrix(column: pa.ChunkedArray, width: int) -> Matrix:
    """A vector column without nulls as float32 `[rows, width]`."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(-1, width), np.float32)


def unit(vectors: npt.NDArray[np.floating]) -> Matrix:
    """Vectors `[rows, width]` of any length as unit vectors; one of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _LEAST_NORM), np.float32)


def nearest(vectors: Matrix, asked: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.int64]:
    """int64 `[asked, k]`: of each asked row of unit vectors the other rows with the largest cosine, nearest first."""
    found = np.empty((len(asked), k), np.int64)
    for start in range(0, len(asked), _ROWS):
        rows = asked[start : start + _ROWS]
        scores = vectors[rows] @ vectors.T
        scores[np.arange(len(rows)), rows] = -np.inf
        found[start : start + _ROWS] = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return found
