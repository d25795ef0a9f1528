"""Frames between parent and child: a JSON header, raw bytes (here or on a shelf), and perhaps a file descriptor.

A frame is data alone, so that a child which was taken over cannot make its parent run anything.
"""

from __future__ import annotations

import math
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

import numpy as np
from pydantic_core import from_json, to_json

from operators.decode.sniff import MediaType
from operators.isolation.shelf import Buffer, Shelf
from operators.parts import DTYPES, Locator, Part, PartKind, Segment
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode, Stage

PREFIX = struct.Struct("<IQQ")
"""The lengths of a frame's header and of its bytes, and where on the shelf these are: 0 where they follow."""

SMALL = 1 << 14
"""Bytes that go with their header for less than a place on the shelf costs."""
_INLINE = 1 << 15
"""Pieces of a message that are smaller are joined: a system call costs more than a copy of them."""
_where = attrgetter(*(f.name for f in fields(Locator)))
_MEDIA = tuple(f.name for f in fields(MediaType))
_SEGMENT = tuple(f.name for f in fields(Segment) if f.name not in ("modality", "parts", "locator"))
_PART = tuple(f.name for f in fields(Part) if f.name not in ("kind", "data"))


@dataclass(frozen=True, slots=True)
class Frame:
    """One message; `op` in the header says which, `mark` is a checksum of the header."""

    header: dict[str, Any]
    body: Buffer = b""
    fd: int | None = None
    mark: int = 0

    @property
    def op(self) -> str:
        """What the message is."""
        return str(self.header.get("op"))


class BrokenFrameError(Exception):
    """What arrived is no frame of this protocol."""


def framed(header: dict[str, Any], pieces: Sequence[Buffer] = (), shelf: Shelf | None = None) -> list[Buffer]:
    """A frame as the buffers to send; what is large goes to the shelf while there is room."""
    size = sum(map(len, pieces))
    at = shelf.put(pieces) if shelf is not None and size >= SMALL else None
    return shelved(header, at, size) if at is not None else [*shelved(header, 0, size), *pieces]


def shelved(header: dict[str, Any], at: int, size: int) -> list[Buffer]:
    """A frame whose bytes are on the shelf already."""
    head = to_json(header)
    return [PREFIX.pack(len(head), size, at) + head]


def send(sock: socket.socket, buffers: Sequence[Buffer], fd: int | None = None) -> None:
    """Send whole frames; `fd` travels with the first byte.

    Raises:
        OSError: nobody is there.
    """
    if fd is not None:
        first, *rest = buffers
        sent = socket.send_fds(sock, [first], [fd])
        buffers = [memoryview(first)[sent:], *rest]
    small: list[Buffer] = []
    for piece in buffers:
        if len(piece) < _INLINE:
            small.append(piece)
            continue
        if small:
            sock.sendall(b"".join(small))
            small = []
        sock.sendall(piece)
    if small:
        sock.sendall(b"".join(small))


def header_of(data: bytes | bytearray) -> dict[str, Any]:
    """The header's object.

    Raises:
        BrokenFrameError: it is none.
    """
    try:
        header = from_json(data)
    except ValueError as error:
        raise BrokenFrameError("a header that is not JSON") from error
    if not isinstance(header, dict):
        raise BrokenFrameError("a header that is no object")
    return header


def failure_frame(error: AssetError, op: str = "failed") -> list[Buffer]:
    """Why there is no more of the asset, or none of what was asked for."""
    return framed({"op": op, "code": error.code, "detail": error.detail, "stage": error.stage})


def failure_of(frame: Frame) -> AssetError:
    """As `failure_frame` sent it.

    Raises:
        BrokenFrameError: it did not.
    """
    try:
        code, stage = ErrorCode(frame.header["code"]), Stage(frame.header["stage"])
        return AssetError(code, str(frame.header["detail"]), stage)
    except (KeyError, ValueError) as error:
        raise BrokenFrameError("a failure of no known kind") from error


def media_frame(media: MediaType) -> list[Buffer]:
    """What the asset is."""
    return framed({"op": "media", **{name: getattr(media, name) for name in _MEDIA}})


def media_of(frame: Frame) -> MediaType:
    """As `media_frame` sent it.

    Raises:
        BrokenFrameError: it did not.
    """
    try:
        values = {name: frame.header[name] for name in _MEDIA}
        return MediaType(**{**values, "modality": Modality(values["modality"])})
    except (KeyError, ValueError) as error:
        raise BrokenFrameError("a media type that nobody knows") from error


def segment_frame(segment: Segment, shelf: Shelf | None = None) -> list[Buffer]:
    """A segment; its arrays are the frame's bytes, one after the other."""
    arrays = [
        np.ascontiguousarray(part.data, DTYPES[part.kind]) for part in segment.parts if part.data is not None
    ]
    header = {
        "op": "segment",
        "modality": segment.modality,
        "locator": _where(segment.locator),
        "rest": [getattr(segment, name) for name in _SEGMENT],
        "parts": [
            [part.kind, None if part.data is None else part.data.shape, *(getattr(part, n) for n in _PART)]
            for part in segment.parts
        ],
    }
    return framed(header, [array.reshape(-1).view(np.uint8).data for array in arrays if array.size], shelf)


def segment_of(frame: Frame) -> Segment:
    """As `segment_frame` sent it; arrays view the frame's bytes and nothing is copied.

    Raises:
        BrokenFrameError: it did not.
    """
    try:
        parts, at = [], 0
        for kind, shape, *rest in frame.header["parts"]:
            data, known = None, PartKind(kind)
            if shape is not None:
                count, dtype = math.prod(shape), np.dtype(DTYPES[known])
                data = (
                    np.frombuffer(frame.body, dtype, count, at).reshape(shape)
                    if count
                    else np.empty(shape, dtype)
                )
                at += count * dtype.itemsize
            parts.append(Part(known, data=data, **dict(zip(_PART, rest, strict=True))))
        locator = Locator(*frame.header["locator"])
        named = dict(zip(_SEGMENT, frame.header["rest"], strict=True))
        return Segment(Modality(frame.header["modality"]), tuple(parts), locator, **named)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BrokenFrameError("a segment that cannot be read") from error
