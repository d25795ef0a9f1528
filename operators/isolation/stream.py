"""The bytes between parent and child: those that have arrived, and those of a child's that are not sent yet.

A child gathers what it says, as a system call and a parent that wakes cost more than a small asset. What it has
gathered lies in memory that both have, so that a crash loses none of it, and tells which asset it happened at.
"""

from __future__ import annotations

import mmap
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

from operators.isolation.files import scratch
from operators.isolation.shelf import Buffer
from operators.isolation.wire import PREFIX, BrokenFrameError, send

_READ_BYTES = 1 << 16
_HEADER_BYTES = 64 << 20
_LEFT_BYTES = 1 << 20
"""More than any socket holds."""
_HEAD = struct.Struct("<QQQ")
"""How many assets the child has begun, the bytes that it has sent, and those that follow here."""
_BOX_BYTES = 1 << 16


class Arriving:
    """What has come out of a socket, and with `fds` the descriptors that came with it."""

    def __init__(self, sock: socket.socket, fds: bool = False) -> None:
        self._sock, self._with_fds = sock, fds
        self._read = bytearray()
        self._fds: list[int] = []
        self._ended = False
        self.received = 0

    @property
    def waiting(self) -> bool:
        """Whether some has been read that nobody has taken."""
        return bool(self._read)

    def message(self, most: int) -> tuple[bytearray, int, int, bytearray]:
        """The next message: its header, where on the shelf its bytes are, how many, and those that follow it.

        Raises:
            EOFError: the other side has ended before its end.
            OSError: as the socket's; what has arrived stays, so that the next call may have it.
            BrokenFrameError: it claims to have more than `most` bytes.
        """
        self._need(PREFIX.size)
        head, size, at = PREFIX.unpack_from(self._read)
        if head > _HEADER_BYTES or size > most:
            raise BrokenFrameError(f"a message of {head + size} bytes")
        follow = 0 if at else size
        body = PREFIX.size + head
        whole = body + (follow if follow <= _READ_BYTES else 0)
        self._need(whole)
        header, data = self._read[PREFIX.size : body], self._read[body:whole]
        del self._read[:whole]
        return header, at, size, self._large(follow) if follow > _READ_BYTES else data

    def take_fd(self) -> int:
        """The descriptor of the message at hand."""
        return self._fds.pop(0)

    def drain(self) -> None:
        """Read what a dead process had sent."""
        self._sock.setblocking(False)
        until = self.received + _LEFT_BYTES
        with suppress(OSError, EOFError):
            while self.received < until:
                self._fill()

    def end(self, rest: bytes | None) -> None:
        """Nothing comes any more but this; not even what has come where it is None."""
        self._ended = True
        self._read = bytearray() if rest is None else self._read + rest

    def _need(self, size: int) -> None:
        while len(self._read) < size:
            self._fill()

    def _fill(self) -> None:
        if self._ended:
            raise EOFError
        if self._with_fds:
            data, fds, _, _ = socket.recv_fds(self._sock, _READ_BYTES, 1)
            self._fds += fds
        else:
            data = self._sock.recv(_READ_BYTES)
        if not data:
            raise EOFError
        self.received += len(data)
        self._read += data

    def _large(self, size: int) -> bytearray:
        data = bytearray(size)
        at = min(size, len(self._read))
        data[:at] = self._read[:at]
        del self._read[:at]
        view = memoryview(data)
        while at < size:
            got = 0 if self._ended else self._sock.recv_into(view[at:])
            if not got:
                raise EOFError
            self.received += got
            at += got
        return data


def box() -> BinaryIO:
    """Memory for what a child gathers."""
    page = scratch()
    page.truncate(_HEAD.size + _BOX_BYTES)
    return page


class Gathered:
    """The child's side of the box: messages on their way out."""

    def __init__(self, sock: socket.socket, fd: int) -> None:
        self._sock = sock
        self._memory = memoryview(mmap.mmap(fd, _HEAD.size + _BOX_BYTES))
        self.begun = self._sent = self._size = 0

    def begin(self) -> None:
        """Another asset."""
        self.begun += 1
        self._note()

    def add(self, buffers: Sequence[Buffer]) -> None:
        """One more message; it is sent at once where the box cannot hold it."""
        size = sum(map(len, buffers))
        if self._size + size > _BOX_BYTES:
            self.flush()
        if size > _BOX_BYTES:
            send(self._sock, buffers)
            self._sent += size
        else:
            at = _HEAD.size + self._size
            for piece in buffers:
                self._memory[at : at + len(piece)] = piece
                at += len(piece)
            self._size += size
        self._note()

    def flush(self) -> None:
        """Send what there is."""
        if self._size:
            self._sock.sendall(self._memory[_HEAD.size : _HEAD.size + self._size])
            self._sent, self._size = self._sent + self._size, 0
            self._note()

    def _note(self) -> None:
        _HEAD.pack_into(self._memory, 0, self.begun, self._sent, self._size)


def left_behind(page: BinaryIO, received: int) -> tuple[int, bytes]:
    """How many assets a dead child had begun, and what it had said beyond the bytes that were received of it."""
    data = os.pread(page.fileno(), _HEAD.size + _BOX_BYTES, 0)
    if len(data) < _HEAD.size:
        return 0, b""
    begun, sent, size = _HEAD.unpack_from(data)
    return begun, data[_HEAD.size : _HEAD.size + size][max(0, received - sent) :]
