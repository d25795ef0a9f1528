"""A span of sound or video for one input, cut out of the windows that the decoders stream."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, BinaryIO, cast

import numpy as np

from operators.decode.audio import decode_audio
from operators.decode.video import decode_video
from operators.parts import Part, PartKind, Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe


def span_parts(
    file: BinaryIO, modality: Modality, span_ms: tuple[int, int | None], recipe: Recipe, card: ModelCard
) -> list[Part]:
    """The frames and sound between two times, `at_ms` from the first; without an end, of one window.

    Decoding stops where the span ends. Sound in one piece stays in one piece; with frames it lies between them.

    Raises:
        AssetError: LIMIT for a span longer than the model takes, INVALID_DOCUMENT for one that starts after
            the medium's end, and what the decoders raise.
    """
    start, end = span_ms
    video = modality is Modality.VIDEO
    longest = card.limits.video_ms if video else card.limits.audio_ms
    if end is not None and end - start > longest:
        raise _too_long(end - start, longest, modality, card)
    decoder = decode_video if video else decode_audio
    cutter = _Cutter(start, end, card)
    with closing(cast(Any, decoder(file, _end_to_end(recipe), card))) as windows:
        parts = cutter.cut(windows)
    if not parts:
        detail = f"start_ms {start} is after the end of the {modality}"
        raise AssetError(ErrorCode.INVALID_DOCUMENT, detail)
    samples = sum(len(part.array) for part in parts if part.kind is PartKind.AUDIO)
    if samples * 1000 > card.limits.audio_ms * card.sample_rate:
        sound_ms = samples * 1000 // card.sample_rate
        raise _too_long(sound_ms, card.limits.audio_ms, Modality.AUDIO, card)
    return parts


def _too_long(span_ms: int, longest_ms: int, modality: Modality, card: ModelCard) -> AssetError:
    detail = f"a span of {span_ms} ms, {card.model_id} takes {longest_ms} ms of {modality}"
    return AssetError(ErrorCode.LIMIT, detail)


def _end_to_end(recipe: Recipe) -> Recipe:
    """The recipe with windows that follow one another without overlap, gap or early end."""
    audio = recipe.audio.model_copy(update={"overlap_ms": 0, "skip_silence": False})
    video = recipe.video.model_copy(update={"overlap_ms": 0, "scenes": False})
    return recipe.model_copy(update={"audio": audio, "video": video})


class _Cutter:
    """Keeps what lies within `[start, end)` milliseconds of windows that follow one another."""

    def __init__(self, start: int, end: int | None, card: ModelCard) -> None:
        self.start, self.end, self.card = start, end, card
        self.shown: Part | None = None
        self.kept: list[Part] = []

    def cut(self, windows: Iterator[Segment]) -> list[Part]:
        """The parts of the span; none when all windows end before it."""
        reached = 0
        for window in windows:
            origin, reached = window.locator.start_ms or 0, window.locator.end_ms or 0
            end = self.start + reached - origin if self.end is None else self.end
            self.end = end
            for part in window.parts:
                self._keep(part, origin + (part.at_ms or 0), end)
            if reached >= end:
                break
        if reached > self.start:
            self._show_first()
        return self._joined()

    def _keep(self, part: Part, at: int, end: int) -> None:
        if part.kind is PartKind.FRAME:
            if at < self.start:
                self.shown = part
            elif at < end:
                self.kept.append(replace(part, at_ms=at - self.start))
            return
        rate = self.card.sample_rate
        first = max(0, (self.start - at) * rate // 1000)
        samples = part.array[first : max(first, (end - at) * rate // 1000)]
        if len(samples):
            self.kept.append(replace(part, data=samples, at_ms=max(0, at - self.start)))

    def _show_first(self) -> None:
        """A span that begins between two frames begins with the one on display, if the model has room."""
        frames = [part for part in self.kept if part.kind is PartKind.FRAME]
        starts = bool(frames) and frames[0].at_ms == 0
        if self.shown is not None and not starts and len(frames) < self.card.limits.video_frames:
            self.kept.insert(0, replace(self.shown, at_ms=0))

    def _joined(self) -> list[Part]:
        if self.kept and all(part.kind is PartKind.AUDIO for part in self.kept):
            return [replace(self.kept[0], data=np.concatenate([part.array for part in self.kept]))]
        return self.kept
