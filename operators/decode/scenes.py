"""Where a scene changes: by how much the colours of two frames that follow one another differ.

Histogram difference (Zhang, Kankanhalli and Smoliar, 1993) over the marginal of each channel, with each value shared
between its two nearest bins, so that a small change of light moves a small share. Motion within a scene hardly
changes which colours there are; a cut does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_BINS = 8


def _shares() -> npt.NDArray[np.float32]:
    """`[256, bins]`: how much of a value each bin gets; rows sum to 1."""
    at = np.arange(256)[:, None] * (_BINS - 1) / 255 - np.arange(_BINS)[None]
    return np.asarray(np.clip(1 - np.abs(at), 0, 1), np.float32)


_SHARES = _shares()


def colours(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The share of each of 8 bins in each channel of uint8 `[height, width, 3]`: float32 `[3, 8]`, rows sum to 1."""
    counts = np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
    return (counts.astype(np.float32) @ _SHARES) / np.float32(pixels[..., 0].size)


def change(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """The share of two frames' colours that differ, from 0 to 1: the mean over the channels."""
    return float(np.abs(one - other).sum() / 6)
