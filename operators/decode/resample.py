"""Sound as the models take it: two channels mixed, and another rate with soxr at its high quality."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import soxr

Samples = npt.NDArray[np.int16]

BLOCK = 1 << 18
"""Samples that are resampled at a time, some seconds of them; other sizes give other samples."""


def resampled(blocks: Iterable[Samples], rate: int, wanted: int) -> Iterator[Samples]:
    """Blocks of mono int16 `[samples]` at one rate as such blocks at another."""
    if rate == wanted:
        yield from blocks
        return
    fit = soxr.ResampleStream(rate, wanted, 1, dtype="int16")
    for block in blocks:
        yield fit.resample_chunk(block)
    yield fit.resample_chunk(np.empty(0, np.int16), last=True)


def mean(left: Samples, right: Samples) -> Samples:
    """Of two channels."""
    mixed: Samples = ((left.astype(np.int32) + right) >> 1).astype(np.int16)
    return mixed
