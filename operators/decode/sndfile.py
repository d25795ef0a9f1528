"""WAV and FLAC through libsndfile: some seconds a call, where libav hands out frames of some milliseconds."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, cast

import soundfile
from av.audio.stream import AudioStream
from av.container import InputContainer

from operators.decode.resample import BLOCK, Samples, mean, resampled
from schemas.errors import AssetError, ErrorCode

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
        with _Forward(guarded) as source:
            yield from resampled(_mono(source), source.samplerate, rate)
    except soundfile.LibsndfileError as error:
        if guarded.error is None:
            raise AssetError(ErrorCode.CORRUPT, f"libsndfile: {error.error_string}") from error
    if guarded.error is not None:
        raise guarded.error


def _mono(source: soundfile.SoundFile) -> Iterator[Samples]:
    while len(block := source.read(BLOCK, "int16", always_2d=True)):
        yield block[:, 0] if source.channels == 1 else mean(block[:, 0], block[:, 1])


class _Forward(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from its start to its end: libsndfile looks for every block of a FLAC otherwise."""

    def seekable(self) -> bool:
        """As a pipe's."""
        return False


class _Guarded:
    """A file that keeps an exception which C would drop; what follows it is the end of the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = cast(io.BufferedReader, file)
        self.error: Exception | None = None
        self.seek, self.tell = file.seek, file.tell
        file.seek(0)

    def readinto(self, memory: memoryview) -> int:
        """As a file's."""
        try:
            return 0 if self.error else self._file.readinto(memory)
        except Exception as error:
            self.error = error
            return 0
