"""What the audio and video decoders share: opening libav safely, its errors, its clocks.

All times are integer microseconds (`_us`) or milliseconds (`_ms`).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any, BinaryIO, TypeVar

import av
from av.container import InputContainer
from av.error import (
    ArgumentError,
    DecoderNotFoundError,
    DemuxerNotFoundError,
    FFmpegError,
    NotImplementedError,
    PatchWelcomeError,
)
from av.stream import Discard, Stream

from schemas.errors import AssetError, ErrorCode

DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dv,eac3,flac,flv,gxf,h264,hevc,ivf,matroska,mov,mp3,mpc,mpc8,"
    "mpeg,mpegts,mpegvideo,mxf,nut,obu,ogg,qoa,rm,tta,voc,w64,wav,wv"
)
"""Containers that carry their own bytes: playlists (hls, dash, concat) would make libav open other files."""

_DECLARES_LENGTH = frozenset({"mov", "matroska", "wav", "w64", "aiff", "flac", "ogg", "avi", "caf", "asf"})
_UNSUPPORTED = (DecoderNotFoundError, DemuxerNotFoundError, NotImplementedError, PatchWelcomeError)
_BUFFER_BYTES = 1 << 17
_WAVE = re.compile(rb"(RIFF|RF64).{4}WAVE", re.DOTALL)
_WAVE_OPTIONS = {"max_probe_packets": "1"}
"""Otherwise libav looks for DTS in the first 2,500 packets."""


S = TypeVar("S", bound=Stream)


class _View:
    """One reader's position in a file that several containers read in turn."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = self._at if whence == io.SEEK_CUR else 0
        self._at = self._file.seek(base + offset, io.SEEK_END if whence == io.SEEK_END else io.SEEK_SET)
        return self._at

    def tell(self) -> int:
        return self._at


@contextmanager
def opened(file: BinaryIO) -> Iterator[InputContainer]:
    """A libav container over an open file; containers over one file may be read in turn.

    Raises:
        AssetError: UNSUPPORTED or CORRUPT with libav's reason, for any libav error until the block ends.
    """
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "none"}
    view = _View(file)
    if _WAVE.match(view.read(16)):
        options |= _WAVE_OPTIONS
    view.seek(0)
    try:
        container = av.open(
            view, mode="r", options=options, metadata_errors="replace", buffer_size=_BUFFER_BYTES
        )
    except ArgumentError as error:
        raise AssetError(ErrorCode.UNSUPPORTED, "libav: not a container that is read here") from error
    except FFmpegError as error:
        raise _asset_error(error) from error
    try:
        with container:
            yield container
    except FFmpegError as error:
        raise _asset_error(error) from error


def _asset_error(error: FFmpegError) -> AssetError:
    code = ErrorCode.UNSUPPORTED if isinstance(error, _UNSUPPORTED) else ErrorCode.CORRUPT
    return AssetError(code, f"libav: {error.strerror or type(error).__name__}")


def decodable(stream: S) -> S:
    """The stream, if libav can decode it.

    Raises:
        AssetError: UNSUPPORTED when no decoder exists for it.
    """
    if stream.codec_context is None:
        raise AssetError(ErrorCode.UNSUPPORTED, f"libav: no decoder for the {stream.type} stream")
    return stream


def select(container: InputContainer, stream: Stream) -> None:
    """Read only this stream's packets, decoded on the caller's thread."""
    for other in container.streams:
        other.discard = Discard.default if other.index == stream.index else Discard.all
    # FFmpeg's own threads ignore the cores that the scheduler gave to this task.
    stream.codec_context.thread_type = "NONE"


def packets(container: InputContainer, stream: Stream) -> Iterator[Any]:
    """The stream's packets and libav's closing flush packet.

    Raises:
        AssetError: CORRUPT at a packet that the demuxer marks as damaged.
    """
    for packet in container.demux(stream):
        if packet.is_corrupt:
            raise AssetError(ErrorCode.CORRUPT, f"libav: damaged {stream.type} packet")
        yield packet


def to_us(ticks: int, time_base: Fraction) -> int:
    """Exact microseconds of a timestamp, rounded to the nearest."""
    return (2_000_000 * ticks * time_base.numerator + time_base.denominator) // (2 * time_base.denominator)


def start_us(stream: Stream) -> int:
    """When the stream starts on the container's clock; 0 when it does not say."""
    if stream.start_time is None or stream.time_base is None:
        return 0
    return to_us(stream.start_time, stream.time_base)


def declared_us(container: InputContainer, stream: Stream, whole: bool) -> int | None:
    """The length that the header promises; None where libav only estimates it.

    `whole`: the container's length may stand in for the stream's.
    """
    if not _DECLARES_LENGTH.intersection(container.format.name.split(",")):
        return None
    if stream.duration and stream.time_base:
        return to_us(stream.duration, stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d\.\d{1,9})", stream.metadata.get("DURATION", ""))
    end = container.duration if whole and container.duration else None
    if tag:
        end = int((int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])) * 1_000_000)
    # Matroska, where a stream has none, says when it ends.
    return None if end is None else max(0, end - max(0, start_us(stream)))
