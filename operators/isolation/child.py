"""The child's side: one asset after the other, until the parent hangs up. Started as a fresh interpreter.

It imports no engine and no model: a counter of tokens that needs one is asked in the parent.
"""

from __future__ import annotations

import io
import os
import pickle
import select
import socket
import sys
import time
from collections import deque
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
from operators.isolation.stream import Arriving, Gathered
from operators.isolation.wire import (
    Frame,
    failure_frame,
    failure_of,
    framed,
    header_of,
    media_frame,
    segment_frame,
)
from operators.model.contract import TextCounter
from operators.parts import Segment
from schemas.config import DecodeConfig
from schemas.errors import AssetError, ErrorCode, described

REFUSED = ("torch", "ray", "lance", "lancedb", "transformers")
"""Seconds to import and a gigabyte of address space; one of them also asks the network."""

_FLUSH_S = 0.1
_ANSWERS = frozenset({"counter", "spans", "opened", "refused"})
Decode = Callable[..., tuple[MediaType, Iterator[Segment]]]


class _StoppedError(BaseException):
    """The parent wants no more of this asset; no decoder's own handlers may catch it."""


class _Link:
    """The socket, with messages gathered on their way out, and assets that wait on their way in."""

    def __init__(self, sock: socket.socket, inbox: Shelf, box: int) -> None:
        self._sock, self._inbox = sock, inbox
        self._arriving, self._gathered = Arriving(sock, fds=True), Gathered(sock, box)
        self._waiting: deque[Frame] = deque()
        self._flushed = time.monotonic()

    def begin(self) -> None:
        """Another asset."""
        self._gathered.begin()

    def put(self, buffers: list[Buffer]) -> None:
        """Send, at the latest with what comes after `_FLUSH_S`, or when there is nothing else to do."""
        self._gathered.add(buffers)
        if time.monotonic() - self._flushed > _FLUSH_S:
            self._flush()

    def get(self) -> Frame | None:
        """The next message of the parent; None when it has hung up."""
        if self._waiting:
            return self._waiting.popleft()
        if not self._arriving.waiting:
            self._flush()
        try:
            return self._frame()
        except EOFError:
            return None

    def ask(self, header: dict[str, Any], pieces: tuple[Buffer, ...] = ()) -> Frame:
        """A question, and the parent's answer."""
        self.put(framed(header, pieces))
        self._flush()
        while True:
            answer = self._frame_or_end()
            if self._stops(answer):
                raise _StoppedError
            if answer.op in _ANSWERS:
                return answer
            self._later(answer)

    def stopped(self) -> bool:
        """Whether the parent wants no more of the asset at hand."""
        while self._arriving.waiting or select.select([self._sock], [], [], 0)[0]:
            frame = self._frame_or_end()
            if self._stops(frame):
                return True
            self._later(frame)
        return False

    def _stops(self, frame: Frame) -> bool:
        return frame.op == "stop" and frame.header["asset"] == self._gathered.begun

    def _later(self, frame: Frame) -> None:
        # A stop may cross the end of its asset.
        if frame.op != "stop":
            self._waiting.append(frame)

    def _flush(self) -> None:
        self._gathered.flush()
        self._flushed = time.monotonic()

    def _frame_or_end(self) -> Frame:
        """In the middle of an asset: without a parent there is nobody to decode for."""
        try:
            return self._frame()
        except EOFError as error:
            raise SystemExit from error

    def _frame(self) -> Frame:
        data: Buffer
        head, at, size, data = self._arriving.message(sys.maxsize)
        header = header_of(head)
        if at:
            data = self._inbox.take(at, size, bytes)
        return Frame(header, data, self._arriving.take_fd() if header.get("fd") else None)


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
            elif frame.op == "decode":
                self.link.put(self._asset(frame))

    def _asset(self, frame: Frame) -> list[Buffer]:
        """Stream one asset; the closing message is returned."""
        refresh_cpu(self.limits.cpu_seconds)
        self.link.begin()
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


def main(sock_fd: int, lifeline: int, box: int, shelves: int, entry: str, limits: str) -> None:
    """Serve a parent.

    Args:
        sock_fd: a connected stream socket.
        lifeline: as `operators.isolation.limits.restrict` wants it.
        box: as `operators.isolation.stream.box` made it.
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
    link = _Link(socket.socket(fileno=sock_fd), inbox, box)
    link.put(framed({"op": "ready"}))
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    _Server(link, decode, config, _Counter(link), outbox).run()
