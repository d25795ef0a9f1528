"""What the audio and video decoders share: opening libav safely, its errors, its clocks.

All times are integer microseconds (`_us`) or milliseconds (`_ms`).
"""

from __future__ import annotations

import io
import re
import struct
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

from schemas.card import Modality, ModelCard
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
_RIFF = int.from_bytes(b"RIFF", "big")
_RIFF_UNKNOWN = 0xFFFF_F000
_BOXES = frozenset({b"ftyp", b"styp", b"sidx", b"free", b"skip", b"wide", b"moov", b"moof", b"mdat", b"mfra"})


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


def check_input(file: BinaryIO, card: ModelCard, modality: Modality) -> None:
    """Refuse what cannot give a vector before any decoder sees it.

    Raises:
        AssetError: MODALITY when the model does not take it, EMPTY for a file without bytes.
    """
    if not card.accepts(modality):
        raise AssetError(ErrorCode.MODALITY, f"{card.model_id} takes no {modality}")
    if file.seek(0, io.SEEK_END) == 0:
        raise AssetError(ErrorCode.EMPTY, "the file has no bytes")
    file.seek(0)


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


def check_hours(length_us: int | None, max_hours: float) -> None:
    """Refuse media longer than the recipe allows.

    Raises:
        AssetError: LIMIT.
    """
    if length_us is not None and length_us > max_hours * 3_600_000_000:
        raise AssetError(ErrorCode.LIMIT, f"longer than {max_hours:g} hours")


def check_complete(reached_us: int, promised_us: int | None) -> None:
    """Refuse media that ends well before the length in its header.

    Raises:
        AssetError: CORRUPT.
    """
    # Headers are off by an encoder's padding or a last frame: a tenth, at most one second.
    if promised_us is not None and reached_us < promised_us - min(1_000_000, promised_us // 10) - 50_000:
        detail = f"ends at {reached_us / 1e6:.2f} s of the {promised_us / 1e6:.2f} s in its header"
        raise AssetError(ErrorCode.CORRUPT, detail)


def check_uncut(file: BinaryIO) -> None:
    """Refuse a file whose own boxes say that it went on: AVI and fragmented MP4 declare no usable length.

    Raises:
        AssetError: CORRUPT.
    """
    size = file.seek(0, io.SEEK_END)
    at, end = 0, 0
    while at + 16 <= size:
        file.seek(at)
        length, kind, wide = struct.unpack(">I4sQ", file.read(16))
        if at == 0 and length == _RIFF:
            end = 8 + int.from_bytes(kind, "little")
            end = 0 if end > _RIFF_UNKNOWN else end
            break
        length = wide if length == 1 else length
        if kind not in _BOXES or length < 8:
            break
        at = end = at + length
    if end > size:
        raise AssetError(ErrorCode.CORRUPT, f"cut off: {size} bytes of at least {end}")
