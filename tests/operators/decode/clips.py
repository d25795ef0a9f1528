"""Real media made by libav's own encoders, and the card that the decoder tests share."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
import numpy.typing as npt

from schemas.card import ImageInput, Limits, Modality, ModelCard, TokenCosts

RATE = 16_000


def card(**changes: object) -> ModelCard:
    """A small card that takes everything; `changes` replace its fields."""
    base = ModelCard(
        model_id="test/small",
        weights_digest="0" * 64,
        family="test",
        modalities=tuple(Modality),
        widths=(8,),
        image=ImageInput(side=64),
        frame=ImageInput(side=32),
        limits=Limits(tokens=8192, text_tokens=512),
        token_costs=TokenCosts(image=16, frame=4, audio_per_second=25),
        preprocessing="1",
    )
    return base.model_copy(update=changes)


def tone(seconds: float, rate: int = 44_100, hertz: float = 440.0) -> npt.NDArray[np.int16]:
    """A sine at a third of full scale, int16 `[samples]`."""
    at = np.arange(round(seconds * rate)) / rate
    return (np.sin(2 * np.pi * hertz * at) * 10_000).astype(np.int16)


def audio(container: str, codec: str, samples: npt.NDArray[np.int16], rate: int = 44_100) -> bytes:
    """A mono file of the samples."""
    out = io.BytesIO()
    with av.open(out, "w", format=container) as file:
        stream = file.add_stream(codec, rate=rate)
        stream.layout = "mono"
        for frame in _audio_frames(stream, samples, rate):
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return out.getvalue()


def _audio_frames(
    stream: av.AudioStream, samples: npt.NDArray[np.int16], rate: int
) -> Iterator[av.AudioFrame]:
    if not len(samples):
        return
    whole = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
    whole.sample_rate, whole.pts, whole.time_base = rate, 0, Fraction(1, rate)
    fitted = av.AudioResampler(stream.format.name, "mono", rate, frame_size=stream.frame_size or 4096)
    yield from fitted.resample(whole)
    yield from fitted.resample(None)


Painter = Callable[[float], npt.NDArray[np.uint8]]


def video(
    times_ms: list[int],
    paint: Painter,
    container: str = "mp4",
    codec: str = "libx264",
    sound: npt.NDArray[np.int16] | None = None,
    sound_codec: str = "aac",
    options: dict[str, str] | None = None,
    muxer: dict[str, str] | None = None,
) -> bytes:
    """A file with a frame at each time, painted by `paint(seconds)`, and 48 kHz sound from time 0."""
    out = io.BytesIO()
    height, width = paint(0.0).shape[:2]
    with av.open(out, "w", format=container, options=muxer or {}) as file:
        picture = file.add_stream(codec, rate=30, options=options or {})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        picture.codec_context.time_base = Fraction(1, 1000)
        voice = None
        if sound is not None:
            voice = file.add_stream(sound_codec, rate=48_000)
            voice.layout = "mono"
        for at_ms in times_ms:
            frame = av.VideoFrame.from_ndarray(paint(at_ms / 1000), "rgb24")
            frame.pts, frame.time_base = at_ms, Fraction(1, 1000)
            file.mux(picture.encode(frame))
        file.mux(picture.encode(None))
        if voice is not None and sound is not None:
            for heard in _audio_frames(voice, sound, 48_000):
                file.mux(voice.encode(heard))
            file.mux(voice.encode(None))
    return out.getvalue()


def every(step_ms: float, until_ms: int) -> list[int]:
    """Times from 0, `step_ms` apart."""
    return [round(i * step_ms) for i in range(int(until_ms / step_ms))]


def solid(colour: tuple[int, int, int], width: int = 64, height: int = 48) -> npt.NDArray[np.uint8]:
    """A picture of one colour."""
    return np.full((height, width, 3), colour, np.uint8)


def flash(second: int) -> Painter:
    """White during one second, black otherwise."""
    return lambda at: solid((255,) * 3 if second <= at < second + 1 else (0,) * 3)


def counting(at: float) -> npt.NDArray[np.uint8]:
    """Grey that rises by 20 each second, anew every 12: frames tell their time."""
    return solid((int(at) % 12 * 20,) * 3)


def broken(data: bytes, flips: int = 400, seed: int = 0) -> bytes:
    """The bytes with bits flipped in the middle third."""
    out = bytearray(data)
    third = len(data) // 3
    for at in np.random.default_rng(seed).integers(third, 2 * third, flips):
        out[at] ^= 0x55
    return bytes(out)


def looped(clip: bytes, times: int, container: str, to: BinaryIO) -> None:
    """Write the clip `times` over, one after the other, without encoding anew: hours of media in seconds."""
    with av.open(io.BytesIO(clip)) as source, av.open(to, "w", format=container) as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        held = [p for p in source.demux() if p.size]
        step = max((p.pts + p.duration) * p.time_base for p in held) - min(p.dts * p.time_base for p in held)
        again = [(p, bytes(p), p.pts, p.dts, p.time_base) for p in held]
        for turn in range(times):
            for packet, data, pts, dts, base in again:
                copy = av.Packet(data)
                copy.stream, copy.time_base = streams[packet.stream.index], base
                shift = round(turn * step / base)
                copy.pts, copy.dts, copy.duration = pts + shift, dts + shift, packet.duration
                copy.is_keyframe = packet.is_keyframe
                out.mux(copy)
