"""The child's side: one asset after the other, until the parent hangs up. Started as a fresh interpreter.

It imports no engine and no model: a counter of tokens that needs one is asked in the parent.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from operators.decode.sniff import MediaType
from operators.isolation.limits import address_space, refresh_cpu, restrict
from operators.isolation.shelf import Buffer, Shelf
from operators.isolation.wire import (
    PREFIX,
    Frame,
    failure_frame,
    failure_of,
    framed,
    header_of,
    media_frame,
    record,
    segment_frame,
    send,
)
from operators.model.contract import TextCounter
from operators.parts import Segment
from schemas.config import DecodeConfig
from schemas.errors import AssetError, ErrorCode, described

REFUSED = ("torch", "ray", "lance", "lancedb", "transformers")
"""Seconds to import and a gigabyte of address space; one of them also asks the network."""

_FLUSH_BYTES = 1 << 16
_FLUSH_S = 0.02
_READ_BYTES = 1 << 16
Decode = Callable[..., tuple[MediaType, Iterator[Segment]]]


class _StoppedError(BaseException):
    """The parent wants no more of this asset; no decoder's own handlers may catch it."""


class _Link:
    """The socket, with small messages gathered on their way out."""

    def __init__(self, sock: socket.socket, inbox: Shelf) -> None:
        self._sock, self._inbox = sock, inbox
        self._read = bytearray()
        self._fds: list[int] = []
        self._held: list[Buffer] = []
        self._bytes = 0
        self._flushed = time.monotonic()

    def put(self, buffers: list[Buffer], flush: bool = False) -> None:
        """Send, at the latest with what comes after `_FLUSH_S`."""
        self._held += buffers
        self._bytes += sum(map(len, buffers))
        if flush or self._bytes >= _FLUSH_BYTES or time.monotonic() - self._flushed > _FLUSH_S:
            send(self._sock, self._held)
            self._held, self._bytes, self._flushed = [], 0, time.monotonic()

    def get(self) -> Frame | None:
        """The next message of the parent; None when it has hung up."""
        while len(self._read) < PREFIX.size:
            if not self._fill():
                return None
        head, size, at = PREFIX.unpack(self._exactly(PREFIX.size))
        header = header_of(self._exactly(head))
        body = self._inbox.take(at, size, bytes) if at else self._exactly(size)
        return Frame(header, body, self._fds.pop(0) if header.get("fd") else None)

    def ask(self, header: dict[str, Any], pieces: tuple[Buffer, ...] = ()) -> Frame:
        """A question, and the parent's answer."""
        self.put(framed(header, pieces), flush=True)
        answer = self.get()
        if answer is None:
            raise SystemExit
        if answer.op == "stop":
            raise _StoppedError
        return answer

    def stopped(self) -> bool:
        """Whether the parent has said something, and unasked it only says stop."""
        return bool(self._read or select.select([self._sock], [], [], 0)[0])

    def _fill(self) -> bool:
        data, fds, _, _ = socket.recv_fds(self._sock, _READ_BYTES, 1)
        self._read += data
        self._fds += fds
        return bool(data)

    def _exactly(self, size: int) -> bytearray:
        if size > _READ_BYTES:
            return self._large(size)
        while len(self._read) < size:
            if not self._fill():
                raise SystemExit
        data = self._read[:size]
        del self._read[:size]
        return data

    def _large(self, size: int) -> bytearray:
        data = bytearray(size)
        at = min(size, len(self._read))
        data[:at] = self._read[:at]
        del self._read[:at]
        view = memoryview(data)
        while at < size:
            got = self._sock.recv_into(view[at:])
            if not got:
                raise SystemExit
            at += got
        return data


@dataclass
class _Counter:
    """The asset's counter of tokens, fetched when the first text is counted."""

    link: _Link
    local: TextCounter | None = None
    asked: bool = False

    @property
    def splits_at_spaces(self) -> bool:
        """As `TextCounter`."""
        return self._own is not None and self._own.splits_at_spaces

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """As `TextCounter`."""
        if self._own is not None:
            return self._own.offsets(text)
        # Surrogates that stand alone are legal in a str.
        answer = self.link.ask({"op": "count"}, (text.encode("utf-8", "surrogatepass"),))
        return np.frombuffer(answer.body, np.int64).reshape(-1, 2)

    def count(self, text: str) -> int:
        """As `TextCounter`."""
        return len(self.offsets(text)) if self._own is None else self._own.count(text)

    @property
    def _own(self) -> TextCounter | None:
        if not self.asked:
            self.asked, self.local = True, _unpickled(self.link.ask({"op": "counter"}).body)
        return self.local


def _unpickled(data: Buffer) -> TextCounter | None:
    """The counter; None when it does not travel, or needs what is refused here."""
    try:
        return cast(TextCounter, pickle.loads(data)) if data else None  # noqa: S301 (the parent's own bytes)
    except Exception:
        return None


@dataclass
class _Server:
    """Decodes what it is sent."""

    link: _Link
    decode: Decode
    limits: DecodeConfig
    counter: _Counter
    black_box: mmap.mmap
    outbox: Shelf
    context: tuple[Any, Any] = (None, None)
    most_idle: int = field(init=False)

    def __post_init__(self) -> None:
        self.most_idle = address_space() + self.limits.memory_bytes // 2

    def run(self) -> None:
        """Until the parent hangs up."""
        while (frame := self.link.get()) is not None:
            if frame.op == "context":
                self.context = pickle.loads(frame.body)  # noqa: S301 (the parent's own bytes)
                self.counter = _Counter(self.link)
            # A stop may cross the end of its asset.
            elif frame.op == "decode":
                self.link.put(self._asset(frame), flush=True)

    def _asset(self, frame: Frame) -> list[Buffer]:
        """Stream one asset; the closing message is returned."""
        refresh_cpu(self.limits.cpu_seconds)
        try:
            body = io.BytesIO(frame.body) if frame.fd is None else os.fdopen(frame.fd, "rb")
            with suppress(_StoppedError), body as file:
                self._stream(file, frame.header["name"])
        except AssetError as error:
            return failure_frame(error)
        except MemoryError:
            return failure_frame(AssetError(ErrorCode.OUT_OF_MEMORY, "out of memory while decoding"))
        except Exception as error:
            return failure_frame(AssetError(ErrorCode.INTERNAL, described(error)))
        # What stays mapped after an asset is a leak, or the heap in pieces.
        return framed({"op": "done", "worn": address_space() > self.most_idle})

    def _stream(self, file: BinaryIO, name: str) -> None:
        media, segments = self.decode(file, name, *self.context, self.counter, self._open)
        record(self.black_box, media)
        self.link.put(media_frame(media))
        with closing(cast(Any, segments)):
            for segment in segments:
                if self.link.stopped():
                    return
                self.link.put(segment_frame(segment, self.outbox))

    def _open(self, reference: str) -> BinaryIO:
        answer = self.link.ask({"op": "open", "reference": reference})
        if answer.fd is None:
            raise failure_of(answer)
        return os.fdopen(answer.fd, "rb")


def main(sock_fd: int, lifeline: int, black_box: int, shelves: int, entry: str, limits: str) -> None:
    """Serve a parent.

    Args:
        sock_fd: a connected stream socket.
        lifeline: as `operators.isolation.limits.restrict` wants it.
        black_box: as `operators.isolation.wire.black_box` made it.
        shelves: as `operators.isolation.shelf.shared` made them.
        entry: `module:function` of what decodes.
        limits: a `DecodeConfig` as JSON.
    """
    for name in REFUSED:
        sys.modules[name] = cast(Any, None)
    module, _, function = entry.partition(":")
    decode: Decode = getattr(import_module(module), function)
    config = DecodeConfig.model_validate_json(limits)
    inbox, outbox = Shelf.pair(shelves)
    restrict(config, lifeline)
    link = _Link(socket.socket(fileno=sock_fd), inbox)
    link.put(framed({"op": "ready"}), flush=True)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    _Server(link, decode, config, _Counter(link), mmap.mmap(black_box, 0), outbox).run()
