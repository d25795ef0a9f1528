"""WAV and FLAC through libsndfile: some seconds a call, where libav hands out frames of some milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from av.audio.stream import AudioStream
from av.container import InputContainer

from schemas.errors import AssetError, ErrorCode

Samples = npt.NDArray[np.int16]

_FRAMES = 1 << 18
_CONTAINERS = frozenset({"wav", "flac"})
_CODECS = frozenset({"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "flac"})
"""Others' damage libsndfile passes over in silence, or it knows no way to mix them."""


def readable(container: InputContainer, stream: AudioStream) -> bool:
    """Whether libsndfile reads the stream as libav would, in less time."""
    codec = stream.codec_context
    return container.format.name in _CONTAINERS and codec.name in _CODECS and codec.channels <= 2


def samples(file: BinaryIO, rate: int) -> Iterator[Samples]:
    """The file as mono int16 at `rate`, in chunks of some seconds.

    Raises:
        AssetError: CORRUPT with libsndfile's reason; and what reading the file raises.
    """
    guarded = _Guarded(file)
    try:
        with soundfile.SoundFile(guarded) as source:
            fit = None
            if source.samplerate != rate:
                fit = soxr.ResampleStream(source.samplerate, rate, 1, dtype="int16")
            while len(block := source.read(_FRAMES, "int16", always_2d=True)):
                mono = block[:, 0] if source.channels == 1 else _mixed(block)
                yield mono if fit is None else fit.resample_chunk(mono)
            if fit is not None:
                yield fit.resample_chunk(np.empty(0, np.int16), last=True)
    except soundfile.LibsndfileError as error:
        if guarded.error is None:
            raise AssetError(ErrorCode.CORRUPT, f"libsndfile: {error.error_string}") from error
    if guarded.error is not None:
        raise guarded.error


def _mixed(block: Samples) -> Samples:
    """The mean of two channels."""
    mixed: Samples = ((block[:, 0].astype(np.int32) + block[:, 1]) >> 1).astype(np.int16)
    return mixed


class _Guarded:
    """A file that keeps an exception which C would drop; what follows it is the end of the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: Exception | None = None
        self.seek, self.tell = file.seek, file.tell
        file.seek(0)

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        try:
            return self._file.read(size) if self.error is None else b""
        except Exception as error:
            self.error = error
            return b""
