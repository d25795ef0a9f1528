"""PCM in a WAV file, read by arithmetic on its header: no native parser sees a byte of it.

What is odd in any way is not read here, and libav or libsndfile says what it is: what is read has one `fmt ` chunk
and a `data` chunk that lies in the file as a whole, and all sizes agree.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from operators.decode.resample import BLOCK, Samples, mean, resampled

_HEAD = struct.Struct("<4sI4s")
_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_PCM, _EXTENSIBLE = 1, 0xFFFE
_PCM_GUID = bytes.fromhex("0100000000001000800000aa00389b71")
_RIFF_UNKNOWN = 0xFFFF_F000
_MOST_CHUNKS = 64
"""Ahead of the sound; there are seldom more than three."""
_MOST_FORMAT = 64
_RATES = range(2_000, 768_001)
_HEAD_WORDS = 1 << 15
_OTHERS = ((0xFE7F, 0x0180), (0x7FFE, 0x8001), (0x1FFF, 0xE800), (0xFF1F, 0x00E8), (0xF872, 0x4E1F))
"""Samples with which DTS and S/PDIF start, that some keep in a WAV as if they were sound."""


@dataclass(frozen=True, slots=True)
class Wav:
    """Where a file's samples lie, and what they are: `width` in bytes."""

    at: int
    frames: int
    rate: int
    channels: int
    width: int

    @property
    def length_us(self) -> int:
        """Microseconds of sound."""
        return self.frames * 1_000_000 // self.rate

    def samples(self, file: BinaryIO, rate: int) -> Iterator[Samples]:
        """The file's sound as mono int16 `[samples]` at `rate`: where nothing changes, as it lies in memory."""
        most = self.frames if self.rate == rate else BLOCK
        return resampled(self._mono(file, most), self.rate, rate)

    def _mono(self, file: BinaryIO, most: int) -> Iterator[Samples]:
        each = self.channels * self.width
        if (self.width, self.channels) == (2, 1) and type(file) is io.BytesIO:
            whole = np.frombuffer(file.getvalue(), "<i2", self.frames, self.at)
            yield from (whole[done : done + most] for done in range(0, self.frames, most))
            return
        for done in range(0, self.frames, BLOCK):
            file.seek(self.at + done * each)
            data = file.read(min(BLOCK, self.frames - done) * each)
            # A file that has become shorter gives whole frames, and the caller misses the others.
            yield self._mixed(np.frombuffer(data, np.uint8, len(data) // each * each))

    def _mixed(self, data: npt.NDArray[np.uint8]) -> Samples:
        """Bytes as int16: of more than 16 bits the highest, of two channels the mean."""
        if self.width == 1:
            samples = (data.astype(np.int16) - 128) << 8
        else:
            samples = np.ascontiguousarray(data.reshape(-1, self.width)[:, -2:]).view("<i2")[:, 0]
        return samples if self.channels == 1 else mean(samples[::2], samples[1::2])


def read_wav(file: BinaryIO) -> Wav | None:
    """The PCM of 8 to 32 bits and one or two channels that a WAV holds; None for any other file, or a damaged one."""
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    head = file.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    riff, length, kind = _HEAD.unpack(head)
    if (riff, kind) != (b"RIFF", b"WAVE") or length >= _RIFF_UNKNOWN or 8 + length > size:
        return None
    return _sound(file, _HEAD.size, 8 + length)


def _sound(file: BinaryIO, at: int, end: int) -> Wav | None:
    """The samples of the first `data` chunk, as the one `fmt ` chunk before it says that they are."""
    found: tuple[int, int, int] | None = None
    for _ in range(_MOST_CHUNKS):
        file.seek(at)
        head = file.read(_CHUNK.size)
        if len(head) < _CHUNK.size:
            return None
        name, size = _CHUNK.unpack(head)
        at += _CHUNK.size
        if at + size > end:
            return None
        if name == b"data":
            return _checked(file, at, size, found)
        if name == b"fmt " and (found or not (found := _format(file.read(min(size, _MOST_FORMAT))))):
            return None
        at += size + size % 2
    return None


def _format(chunk: bytes) -> tuple[int, int, int] | None:
    """Rate, channels and bytes of a sample; None for other than plain PCM."""
    if len(chunk) < _FORMAT.size:
        return None
    tag, channels, rate, per_second, per_frame, bits = _FORMAT.unpack_from(chunk)
    if tag == _EXTENSIBLE:
        valid = int.from_bytes(chunk[18:20], "little")
        tag = _PCM if chunk[24:40] == _PCM_GUID and valid in (0, bits) else tag
    agree = per_frame == channels * bits // 8 and per_second == per_frame * rate
    plain = tag == _PCM and channels in (1, 2) and bits in (8, 16, 24, 32) and rate in _RATES
    return (rate, channels, bits // 8) if plain and agree else None


def _checked(file: BinaryIO, at: int, size: int, found: tuple[int, int, int] | None) -> Wav | None:
    """Whole frames of samples that are samples."""
    if found is None:
        return None
    rate, channels, width = found
    frames, rest = divmod(size, channels * width)
    if not frames or rest or (width == 2 and _is_other(file.read(min(size, 2 * _HEAD_WORDS)))):
        return None
    return Wav(at, frames, rate, channels, width)


def _is_other(start: bytes) -> bool:
    words = np.frombuffer(start, "<u2", len(start) // 2)
    return any((words[1:][words[:-1] == first] == second).any() for first, second in _OTHERS)
