"""Videos that tell the time: each frame carries its own timestamp as blocks that survive compression and scaling."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from tests.operators.decode.clips import _audio_frames

BITS, COLUMNS, ROWS = 20, 5, 4
"""Milliseconds up to 17 minutes, most significant bit first, in rows of blocks."""
BLOCK = 16
FILM, NTSC = Fraction(24_000, 1_001), Fraction(30_000, 1_001)


def paint(at_ms: int, flash: bool = False) -> npt.NDArray[np.uint8]:
    """A picture of 80 x 80: the time in its upper four fifths, below it white when it flashes."""
    bits = [(at_ms >> (BITS - 1 - i)) & 1 for i in range(BITS)]
    cells = np.array([*bits, *[int(flash)] * COLUMNS], np.uint8).reshape(ROWS + 1, COLUMNS) * 255
    return np.repeat(np.kron(cells, np.ones((BLOCK, BLOCK), np.uint8))[..., None], 3, 2)


def read(pixels: npt.NDArray[np.uint8]) -> tuple[int, bool]:
    """The milliseconds that a decoded frame shows, and whether it flashes."""
    height, width, _ = pixels.shape
    y = [round((row + 0.5) * height / (ROWS + 1)) for row in range(ROWS + 1)]
    x = [round((column + 0.5) * width / COLUMNS) for column in range(COLUMNS)]
    cells = pixels.mean(2)[np.ix_(y, x)] > 128
    return int("".join("01"[int(bit)] for bit in cells[:ROWS].ravel()), 2), bool(cells[ROWS].all())


def clocked(
    times: Iterable[Fraction],
    container: str = "mp4",
    codec: str = "libx264",
    flashes: Sequence[range] = (),
    sound: npt.NDArray[np.int16] | None = None,
    options: dict[str, str] | None = None,
    base: Fraction = Fraction(1, 90_000),
    later: Fraction = Fraction(0),
    muxer: dict[str, str] | None = None,
) -> bytes:
    """A file whose frames lie at exact times in seconds, `later` on the file's clock; sound starts with them.

    A time below 0 is painted as 0 and stored before the file's beginning: an edit list cuts it off.
    """
    out = io.BytesIO()
    with av.open(out, "w", format=container, options=muxer or {}) as file:
        picture = file.add_stream(codec, rate=30, options=options or {})
        picture.width = COLUMNS * BLOCK
        picture.height = (ROWS + 1) * BLOCK
        picture.pix_fmt = "yuv420p"
        picture.codec_context.time_base = base
        voice = None
        if sound is not None:
            voice = file.add_stream("aac", rate=48_000)
            voice.layout = "mono"
        for at in times:
            at_ms = max(0, round(at * 1000))
            frame = av.VideoFrame.from_ndarray(paint(at_ms, any(at_ms in span for span in flashes)), "rgb24")
            frame.pts, frame.time_base = round((at + later) / base), base
            file.mux(picture.encode(frame))
        file.mux(picture.encode(None))
        if voice is not None and sound is not None:
            for heard in _audio_frames(voice, sound, 48_000):
                heard.pts += round(later * 48_000)
                file.mux(voice.encode(heard))
            file.mux(voice.encode(None))
    return out.getvalue()


def steady(rate: Fraction, seconds: float, start: Fraction = Fraction(0)) -> list[Fraction]:
    """The exact times of a constant rate."""
    return [start + i / rate for i in range(int((Fraction(seconds) - start) * rate))]


def uneven(seconds: float, seed: int = 0) -> list[Fraction]:
    """Times 20 to 480 ms apart, in whole milliseconds, as telephones record in the dark."""
    steps = np.random.default_rng(seed).integers(20, 480, round(seconds * 20)).cumsum()
    return [Fraction(0), *(Fraction(int(at), 1000) for at in steps if at < seconds * 1000)]
