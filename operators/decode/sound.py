"""Sound as overlapping windows at the model's sample rate, whoever has decoded it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from operators.decode.checks import check_complete, check_hours
from operators.decode.resample import Samples
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

_LOUDNESS_MS = 100
SILENCE = "[silence]"
"""The text of a window in which nothing is heard."""


def windows(
    chunks: Iterable[Samples], promised_us: int | None, recipe: Recipe, card: ModelCard
) -> Iterator[Segment]:
    """A segment for each window of mono int16 `[samples]` at the card's rate; `promised_us` is what a header says.

    Windows cover every sample. One of silence has `SILENCE` as its text; with `skip_silence` it is left out and the
    others stay as they are. Where all of it is silent, the first window stands for the asset.

    Raises:
        AssetError: EMPTY without samples, LIMIT over `max_hours`, CORRUPT when much of what is promised is missing.
    """
    check_hours(promised_us, recipe.audio.max_hours)
    size, overlap = window_samples(recipe, card)
    end, heard = 0, False
    held: Segment | None = None
    for start, window in cut(chunks, size, overlap):
        end = start + len(window)
        check_hours(end * 1_000_000 // card.sample_rate, recipe.audio.max_hours)
        silent = is_silent(window, card.sample_rate, recipe.audio.silence_dbfs)
        segment = _segment(start, window, card.sample_rate, SILENCE if silent else None)
        if not (silent and recipe.audio.skip_silence):
            heard = True
            yield segment
        elif not heard:
            held = held or segment
    if end == 0:
        raise AssetError(ErrorCode.EMPTY, "the audio stream has no samples")
    if held is not None and not heard:
        yield held
    check_complete(end * 1_000_000 // card.sample_rate, promised_us)


def window_samples(recipe: Recipe, card: ModelCard) -> tuple[int, int]:
    """Samples of a window and of its overlap: the recipe within the card's limits, overlap at most half."""
    window_ms = min(recipe.audio.window_ms, card.limits.audio_ms)
    if card.token_costs.audio_per_second > 0:
        window_ms = min(window_ms, int(1000 * card.limits.tokens / card.token_costs.audio_per_second))
    size = max(1, window_ms * card.sample_rate // 1000)
    return size, min(recipe.audio.overlap_ms * card.sample_rate // 1000, size // 2)


def is_silent(window: Samples, rate: int, below_dbfs: float) -> bool:
    """Whether no tenth of a second of int16 `[samples]` has an RMS of `below_dbfs` (against full scale) or more."""
    size = max(1, rate * _LOUDNESS_MS // 1000)
    limit = (32768.0 * 10 ** (below_dbfs / 20)) ** 2
    for start in range(0, max(1, len(window)), size):
        piece = window[start : start + size].astype(np.float32)
        if float(np.dot(piece, piece)) >= limit * len(piece) > 0:
            return False
    return True


def _segment(start: int, window: Samples, rate: int, text: str | None) -> Segment:
    locator = Locator(start_ms=round(start * 1000 / rate), end_ms=round((start + len(window)) * 1000 / rate))
    return Segment(Modality.AUDIO, (Part(PartKind.AUDIO, data=window, at_ms=0),), locator, text)


def cut(chunks: Iterable[Samples], size: int, overlap: int) -> Iterator[tuple[int, Samples]]:
    """Windows of `size` samples, `size - overlap` apart, with the sample each starts at.

    The last may be shorter; it is left out when the window before it holds all of it. Windows that lie in the first
    chunk are views of it: a recording that is in memory as a whole is not copied.
    """
    window = np.empty(0, np.int16)
    start = filled = 0
    for number, chunk in enumerate(chunks):
        at = 0
        while number == 0 and len(chunk) - at >= size:
            yield start, chunk[at : at + size]
            at, start = at + size - overlap, start + size - overlap
        while at < len(chunk):
            if not len(window):
                window = np.empty(size, np.int16)
            take = min(len(chunk) - at, size - filled)
            window[filled : filled + take] = chunk[at : at + take]
            filled, at = filled + take, at + take
            if filled == size:
                yield start, window
                full, window = window, np.empty(size, np.int16)
                window[:overlap] = full[size - overlap :]
                start, filled = start + size - overlap, overlap
    if filled > (overlap if start else 0):
        yield start, window[:filled].copy()
