"""Video: frames at the recipe's rate with their sound on the same clock, in windows."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import BinaryIO, cast

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from operators.decode.audio import decode_audio, sound
from operators.decode.checks import check_complete, check_hours, check_input, check_uncut
from operators.decode.image import target_size
from operators.decode.media import (
    declared_us,
    decodable,
    opened,
    packets,
    select,
    start_us,
    to_us,
)
from operators.decode.resample import Samples
from operators.decode.windows import Pixels, Plan, Shown, decode_frames
from operators.parts import Part, PartKind, Segment
from schemas.card import ImageInput, Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

_HAS_NONREF = frozenset({"h264", "hevc", "mpeg2video", "mpeg4"})
_UNSPECIFIED = 2
_REORDERED = 32
"""Frames that a decoder may hold back: twice what H.264 and HEVC allow."""
_WORTH_A_SEEK = 8
"""Frames that a jump must save: it empties the decoder."""
_LEAD_US = 100_000
"""Sound that starts this little before the picture is an encoder's priming, not content."""


def decode_video(file: BinaryIO, recipe: Recipe, card: ModelCard) -> Iterator[Segment]:
    """Windows of frames (uint8 `[height, width, 3]` RGB at the card's size) with their sound between them.

    A file with sound and no picture gives audio segments. Windows are yielded as they complete.

    Raises:
        AssetError: UNSUPPORTED, EMPTY, LIMIT (pixels of a frame, hours), CORRUPT, MODALITY.
    """
    check_input(file, card, Modality.VIDEO)
    with ExitStack() as stack:
        container = stack.enter_context(opened(file))
        stream = _picture(container)
        if stream is None:
            stack.close()
            yield from decode_audio(file, recipe, card)
            return
        _check_pixels(decodable(stream).codec_context, recipe)
        wanted = recipe.video.sound and card.accepts(Modality.AUDIO)
        audible = container.streams.best("audio") if wanted else None
        plan = Plan.of(recipe, card, sound=audible is not None)
        promised = declared_us(container, stream, whole=len(container.streams) <= (2 if audible else 1))
        check_hours(promised, plan.max_hours)
        origin = start_us(stream)
        chunks: Iterator[Samples] = iter(())
        if audible is not None:
            heard = stack.enter_context(opened(file))
            voice = cast(AudioStream, heard.streams[audible.index])
            if start_us(voice) < origin - _LEAD_US:
                origin = start_us(voice)
            chunks = sound(heard, voice, plan.rate, origin)
        shown = _Footage(container, stream, recipe, plan, origin)
        yield from decode_frames(shown, chunks, plan)
        check_complete(shown.end_us + origin - start_us(stream), promised)
        check_uncut(file)


def frame_at(file: BinaryIO, at_ms: int, recipe: Recipe, card: ModelCard) -> Part:
    """The first frame at or after a time, else the last one: uint8 `[height, width, 3]` RGB at the card's size.

    No more is decoded than what follows the keyframe before it.

    Raises:
        AssetError: EMPTY without a picture, and as `decode_video`.
    """
    check_input(file, card, Modality.VIDEO)
    if card.frame is None:
        raise AssetError(ErrorCode.MODALITY, f"{card.model_id} names no frame size on its card")
    with opened(file) as container:
        stream = _picture(container)
        if stream is None:
            raise AssetError(ErrorCode.EMPTY, "sound without a picture")
        _check_pixels(decodable(stream).codec_context, recipe)
        select(container, stream)
        stream.codec_context.options = {"max_pixels": str(recipe.video.max_pixels)}
        target_us, base = start_us(stream) + at_ms * 1000, stream.time_base
        if at_ms and base is not None:
            container.seek(int(target_us * base.denominator / (1e6 * base.numerator)), stream=stream)
        shown = None
        for packet in packets(container, stream):
            for shown in stream.decode(packet):
                if (
                    shown.pts is None
                    or shown.time_base is None
                    or to_us(shown.pts, shown.time_base) >= target_us
                ):
                    return _still(shown, stream, card.frame)
        if shown is None:
            raise AssetError(ErrorCode.EMPTY, "no frame can be decoded")
        return _still(shown, stream, card.frame)


def _still(frame: VideoFrame, stream: VideoStream, want: ImageInput) -> Part:
    return Part(PartKind.FRAME, data=_Renderer(stream, want)(frame), at_ms=0)


def _picture(container: InputContainer) -> VideoStream | None:
    """The best video stream that is not a cover picture."""
    best = container.streams.best("video")
    moving = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    return next((s for s in moving if best is not None and s.index == best.index), next(iter(moving), None))


def _check_pixels(codec: VideoCodecContext, recipe: Recipe) -> None:
    width, height = codec.width, codec.height
    if width * height > recipe.video.max_pixels:
        detail = f"frames of {width} x {height} pixels, the recipe allows {recipe.video.max_pixels}"
        raise AssetError(ErrorCode.LIMIT, detail)


class _Footage:
    """The frames of a stream on the segment clock, decoding no more than sampling needs.

    Frames that no other refers to and no slot shows are left out, and spans are jumped over where the index knows
    a nearer keyframe before the next slot: slots show what they would show if all were decoded. With `keyframes`
    nothing else is decoded, and each keyframe stays on display until the next.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, recipe: Recipe, plan: Plan, origin_us: int
    ) -> None:
        self._container, self._stream, self._recipe = container, stream, recipe
        self._plan, self._origin_us = plan, origin_us
        self._render = _Renderer(stream, plan.input)
        rate = float(stream.average_rate or stream.guessed_rate or 25)
        self._period_us = round(1e6 / rate) if rate > 0 else 40_000
        self._last_us = -1
        self._jumps, self._jumped = True, False
        self.end_us = 0

    def __iter__(self) -> Iterator[Shown]:
        stream, last = self._stream, None
        select(self._container, stream)
        codec = stream.codec_context
        codec.options = {"max_pixels": str(self._recipe.video.max_pixels)}
        codec.skip_frame = "DEFAULT"
        sparse = codec.name in _HAS_NONREF and self._period_us * 4 * self._plan.fps <= 1_000_000
        spare = _Spare(self._plan, self._period_us, self._origin_us) if sparse else None
        started = False
        for packet in packets(self._container, stream):
            started = started or packet.is_keyframe
            if not started and packet.size:
                continue
            self._note_end(packet)
            if self._recipe.video.keyframes and packet.size and not packet.is_keyframe:
                # libav's own NONKEY lets every frame of a VP9 pass.
                continue
            if spare is not None:
                codec.skip_frame = "NONREF" if spare(packet) else "DEFAULT"
            for frame in stream.decode(packet):
                last = self._place(frame)
                if last is not None:
                    yield last
            self._jump(packet)
        if last is not None:
            # The frames after the last one may have been skipped: it is on display until they end.
            yield last._replace(end_us=max(last.end_us, self.end_us))

    def _note_end(self, packet: Packet[VideoStream]) -> None:
        if packet.pts is not None:
            end_us = to_us(packet.pts + (packet.duration or 0), packet.time_base) - self._origin_us
            self.end_us = max(self.end_us, end_us)

    def _place(self, frame: VideoFrame) -> Shown | None:
        """The frame on the segment clock; None for one seen before a jump that went nowhere."""
        start_us = self._last_us + self._period_us
        if frame.pts is not None and frame.time_base is not None:
            start_us = to_us(frame.pts, frame.time_base) - self._origin_us
        if self._jumped and start_us <= self._last_us:
            self._jumps = False
            return None
        if start_us <= self._last_us:
            # Clocks that step back go on at the frame rate.
            start_us = self._last_us + self._period_us
        self._jumped = False
        self._last_us = start_us
        end_us = start_us + self._period_us
        if frame.duration and frame.time_base is not None:
            end_us = start_us + to_us(frame.duration, frame.time_base)
        self.end_us = max(self.end_us, end_us)
        return Shown(start_us, end_us, partial(self._render, frame))

    def _jump(self, packet: Packet[VideoStream]) -> None:
        """Seek where a keyframe lies between what was read and the next slot."""
        base = self._stream.time_base
        if not self._jumps or self._jumped or self._last_us < 0 or packet.pts is None or base is None:
            return
        slot = int(self._last_us * self._plan.fps / 1e6) + 1
        target = int((self._plan.us(slot) + self._origin_us) * base.denominator / (1e6 * base.numerator))
        entry = self._stream.index_entries.search_timestamp(target)
        if entry < 0:
            return
        key = self._stream.index_entries[entry].timestamp
        ahead_us = (key - packet.pts) * 1e6 * base.numerator / base.denominator
        if ahead_us > _WORTH_A_SEEK * self._period_us:
            self._container.seek(target, stream=self._stream)
            self._jumped = True


class _Spare:
    """Whether no slot shows a packet's frame: it may be left out if no other frame refers to it.

    A slot shows the first frame within the plan's slack of its start, or the one on display there. Frames whose
    neighbours are far from them may be on display for longer than they say, and are kept.
    """

    def __init__(self, plan: Plan, period_us: int, origin_us: int) -> None:
        self._plan, self._period_us, self._origin_us = plan, period_us, origin_us
        self._seen: list[int] = []

    def __call__(self, packet: Packet[VideoStream]) -> bool:
        if packet.pts is None or packet.time_base is None:
            return False
        at = to_us(packet.pts, packet.time_base) - self._origin_us
        before, after = self._neighbours(at)
        if after - before > 250_000 / self._plan.fps:
            return False
        length = max(self._period_us, to_us(packet.duration or 0, packet.time_base))
        slot = max(0, math.ceil((at - self._plan.slack_us) * self._plan.fps / 1e6))
        return self._plan.us(slot) > at + length

    def _neighbours(self, at: int) -> tuple[float, float]:
        """The frames before and after it among those read; a reordered one has both."""
        place = bisect.bisect_left(self._seen, at)
        before = self._seen[place - 1] if place else -math.inf
        after = self._seen[place] if place < len(self._seen) else math.inf
        self._seen.insert(place, at)
        del self._seen[:-_REORDERED]
        return before, after


class _Renderer:
    """A decoded frame as upright RGB at the model's size, in one pass of swscale."""

    def __init__(self, stream: VideoStream, want: ImageInput) -> None:
        self._want = want
        self._reformatter = VideoReformatter()
        self._aspect = float(stream.sample_aspect_ratio or 1) or 1.0

    def __call__(self, frame: VideoFrame) -> Pixels:
        width, height = target_size(max(1, round(frame.width * self._aspect)), frame.height, self._want)
        matrix = None
        if frame.colorspace == _UNSPECIFIED:
            # As players guess: BT.709 from 720 lines up.
            matrix = Colorspace.ITU709 if frame.height >= 720 else Colorspace.ITU601
        rgb = self._reformatter.reformat(
            frame, width, height, "rgb24", matrix, interpolation=Interpolation.BICUBIC, threads=1
        )
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), turns))
