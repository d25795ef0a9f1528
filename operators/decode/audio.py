"""Sound: any audio stream that libav reads, as overlapping windows at the model's sample rate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO, cast

import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError

from operators.decode import sndfile
from operators.decode.checks import check_input, check_uncut
from operators.decode.media import (
    declared_us,
    decodable,
    opened,
    packets,
    select,
    to_us,
)
from operators.decode.resample import Samples
from operators.decode.sound import windows
from operators.decode.wav import read_wav
from operators.parts import Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

_DRIFT_US = 100_000
"""Sound and its timestamps may differ by this much before silence is added or sound left out."""
_STRAY_BYTES = 16_384
"""Tags and padding before or after the sound: about a second of an MP3."""


def decode_audio(file: BinaryIO, recipe: Recipe, card: ModelCard) -> Iterator[Segment]:
    """Windows of the best audio stream: int16 `[samples]`, mono, at the card's sample rate.

    Windows overlap by the recipe and cover every sample; at most two are held in memory. What silence gives is said in
    `operators.decode.sound.windows`.

    Raises:
        AssetError: UNSUPPORTED without an audio stream, EMPTY without samples, LIMIT over `max_hours`,
            CORRUPT for damaged or cut-off media.
    """
    check_input(file, card, Modality.AUDIO)
    if (wav := read_wav(file)) is not None:
        yield from windows(wav.samples(file, card.sample_rate), wav.length_us, recipe, card)
    else:
        yield from _decoded(file, recipe, card)


def _decoded(file: BinaryIO, recipe: Recipe, card: ModelCard) -> Iterator[Segment]:
    """Through libav, or through libsndfile once libav has told that it may."""
    with opened(file) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise AssetError(ErrorCode.UNSUPPORTED, "no audio stream")
        decodable(stream)
        promised = declared_us(container, stream, whole=len(container.streams) == 1)
        voice, rate = cast(AudioStream, stream), card.sample_rate
        quick = sndfile.readable(container, voice)
        chunks = sndfile.samples(file, rate) if quick else sound(container, voice, rate)
        yield from windows(chunks, promised, recipe, card)
        check_uncut(file)


def sound(
    container: InputContainer, stream: AudioStream, rate: int, origin_us: int | None = None
) -> Iterator[Samples]:
    """The stream as mono int16 at `rate`, in chunks of at most about a second.

    With `origin_us` the first sample lies at that time of the container's clock, and gaps in the timestamps
    become silence; without, samples follow one another as they were stored.
    """
    select(container, stream)
    pipe = _Resampled(rate)
    clock = None if origin_us is None else _SoundClock(origin_us, rate)
    for frame in _frames(container, stream):
        if clock is not None:
            gap = clock.gap(frame)
            if gap > 0:
                yield from clock.trimmed(pipe.flush())
                yield from _silence(gap, rate)
            elif gap < 0:
                continue
        chunks = pipe.push(frame)
        yield from chunks if clock is None else clock.trimmed(chunks)
    yield from pipe.flush() if clock is None else clock.trimmed(pipe.flush())


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Decoded frames; what cannot be decoded is left out at either end, where tags lie, and raised between."""
    started, lost = False, 0
    stray: FFmpegError | None = None
    for packet in packets(container, stream):
        try:
            frames = stream.decode(packet)
        except FFmpegError as error:
            stray, lost = error, lost + packet.size
            if lost > _STRAY_BYTES:
                raise
            continue
        if frames and packet.size:
            if stray is not None and started:
                raise stray
            started, lost, stray = True, 0, None
        yield from frames
    if stray is not None and not started:
        raise stray


def _silence(count: int, rate: int) -> Iterator[Samples]:
    for at in range(0, count, rate):
        yield np.zeros(min(rate, count - at), np.int16)


class _Resampled:
    """Any sound as mono int16 at one rate: libav mixes, soxr resamples four times as fast as libav does.

    It starts anew where the stream changes its format.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._format: tuple[str, str, int] | None = None
        self._mixer: AudioResampler | None = None
        self._soxr: soxr.ResampleStream | None = None

    def push(self, frame: AudioFrame) -> Iterator[Samples]:
        key = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._mixer is None or key != self._format:
            yield from self.flush()
            self._format = key
            # A second at a time: Python is slow at the codec's own small frames.
            self._mixer = AudioResampler("s16", "mono", frame.sample_rate, frame_size=frame.sample_rate)
            if frame.sample_rate != self._rate:
                self._soxr = soxr.ResampleStream(frame.sample_rate, self._rate, 1, dtype="int16")
        frame.pts = None
        for mixed in self._mixer.resample(frame):
            yield self._resampled(_array(mixed))

    def flush(self) -> Iterator[Samples]:
        if self._mixer is not None:
            for mixed in self._mixer.resample(None):
                yield self._resampled(_array(mixed))
            if self._soxr is not None:
                yield self._resampled(np.empty(0, np.int16), last=True)
            self._mixer = self._soxr = None

    def _resampled(self, samples: Samples, last: bool = False) -> Samples:
        return samples if self._soxr is None else self._soxr.resample_chunk(samples, last=last)


def _array(frame: AudioFrame) -> Samples:
    return cast(Samples, frame.to_ndarray().reshape(-1))


class _SoundClock:
    """Where the next sample should lie, against where its timestamp says that it lies."""

    def __init__(self, origin_us: int, rate: int) -> None:
        self._rate = rate
        self._expected_us = float(origin_us)
        self._started = False
        self._early = 0

    def gap(self, frame: AudioFrame) -> int:
        """Samples of silence that belong before the frame; negative when the frame is to be left out."""
        length_us = frame.samples * 1e6 / frame.sample_rate
        late_us = 0.0
        if frame.pts is not None and frame.time_base is not None:
            late_us = to_us(frame.pts, frame.time_base) - self._expected_us
        if not self._started and late_us < 0:
            if late_us + length_us <= 0:
                return -1
            self._early = round(-late_us * self._rate / 1e6)
            self._started, self._expected_us = True, self._expected_us + late_us + length_us
            return 0
        if late_us < -_DRIFT_US:
            return -1
        fill_us = late_us if late_us > _DRIFT_US or not self._started else 0.0
        self._started, self._expected_us = True, self._expected_us + fill_us + length_us
        return round(fill_us * self._rate / 1e6)

    def trimmed(self, chunks: Iterable[Samples]) -> Iterator[Samples]:
        """The chunks without the samples that lie before the origin."""
        for chunk in chunks:
            drop = min(self._early, len(chunk))
            self._early -= drop
            if drop < len(chunk):
                yield chunk[drop:]
