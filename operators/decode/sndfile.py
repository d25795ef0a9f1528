"""WAV and FLAC through libsndfile: a second a call, where libav hands out frames of some milliseconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import soundfile
import soxr
from av.audio.stream import AudioStream
from av.container import InputContainer

from operators.decode.media import View
from schemas.errors import AssetError, ErrorCode

Samples = npt.NDArray[np.int16]

_CONTAINERS = frozenset({"wav", "flac"})
_CODECS = frozenset({"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "flac"})
"""Others' damage libsndfile passes over in silence, or it knows no way to mix them."""


def readable(container: InputContainer, stream: AudioStream) -> bool:
    """Whether libsndfile reads the stream as libav would, in less time."""
    codec = stream.codec_context
    return container.format.name in _CONTAINERS and codec.name in _CODECS and codec.channels <= 2


def samples(file: BinaryIO, rate: int) -> Iterator[Samples]:
    """The file as mono int16 at `rate`, in chunks of about a second.

    Raises:
        AssetError: CORRUPT with libsndfile's reason; and what reading the file raises.
    """
    view = _Guarded(file)
    try:
        with soundfile.SoundFile(view) as source:
            fit = soxr.ResampleStream(source.samplerate, rate, 1) if source.samplerate != rate else None
            while len(block := source.read(source.samplerate, "float32", always_2d=True)):
                mono = block.mean(axis=1) if source.channels > 1 else block[:, 0]
                yield _int16(mono if fit is None else fit.resample_chunk(mono))
            if fit is not None:
                yield _int16(fit.resample_chunk(np.empty(0, np.float32), last=True))
    except soundfile.LibsndfileError as error:
        if view.error is None:
            raise AssetError(ErrorCode.CORRUPT, f"libsndfile: {error.error_string}") from error
    if view.error is not None:
        raise view.error


def _int16(wave: npt.NDArray[np.float32]) -> Samples:
    return np.rint(wave * 32768.0).clip(-32768, 32767).astype(np.int16)


class _Guarded(View):
    """Keeps an exception that C would drop; what follows it is the end of the file."""

    error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return super().read(size) if self.error is None else b""
        except Exception as error:
            self.error = error
            return b""
