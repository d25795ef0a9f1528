"""Memory that parent and child share: large bytes cross by one copy in and one out, and no system call.

What does not fit takes the socket, which also holds back whoever is too far ahead.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

Buffer = bytes | bytearray | memoryview
Copied = TypeVar("Copied", bytes, bytearray)

SHELF_BYTES = 8 << 20
"""Of each direction. Only what was once filled takes memory, and the next bytes go where the last were."""

_COUNT = struct.Struct("<Q")
_HEAD = mmap.PAGESIZE
_SIZE = _HEAD + SHELF_BYTES


NONE = -1
"""In place of a descriptor where the system has none of the kind: then everything takes the socket."""


def shared() -> int:
    """A descriptor of memory for two shelves that nobody can cut short, or `NONE`."""
    if not hasattr(fcntl, "F_ADD_SEALS"):
        return NONE
    fd = os.memfd_create("embedlake-shelf", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 2 * _SIZE)
    # A parent that reads what its child has cut off would be ended by the system.
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd


class Shelf:
    """One direction: the writer fills it round and round, what was taken makes room, and an empty one starts anew."""

    def __init__(self, memory: memoryview) -> None:
        self._memory = memory
        self._given = self._taken = 0
        self._at = _HEAD
        self._filled: deque[int] = deque()

    @classmethod
    def pair(cls, fd: int) -> tuple[Shelf, Shelf]:
        """The shelf towards the child, and that towards its parent."""
        memory = memoryview(b"" if fd == NONE else mmap.mmap(fd, 2 * _SIZE))
        return cls(memory[:_SIZE]), cls(memory[_SIZE:])

    def room(self, size: int) -> tuple[int, memoryview] | None:
        """The writer's: a place for so many bytes, and its memory; None where they do not fit now."""
        if not self._memory:
            return None
        waiting = self._given - _COUNT.unpack_from(self._memory)[0]
        while len(self._filled) > max(0, waiting):
            self._filled.popleft()
        at, end = self._free(size)
        if at + size > end:
            return None
        self._filled.append(at)
        self._at, self._given = at + size, self._given + 1
        return at, self._memory[at : at + size]

    def _free(self, size: int) -> tuple[int, int]:
        """Where the next bytes go, and where what is not taken yet begins; it never ends where that starts."""
        if not self._filled:
            return _HEAD, len(self._memory)
        first = self._filled[0]
        if self._at < first:
            return self._at, first - 1
        if self._at + size <= len(self._memory):
            return self._at, len(self._memory)
        return _HEAD, first - 1

    def put(self, pieces: Sequence[Buffer]) -> int | None:
        """The writer's: copy pieces to one place; None where they do not fit now."""
        if (found := self.room(sum(map(len, pieces)))) is None:
            return None
        at, memory = found
        done = 0
        for piece in pieces:
            memory[done : done + len(piece)] = piece
            done += len(piece)
        return at

    def take(self, at: int, size: int, copied: Callable[[memoryview], Copied]) -> Copied:
        """The reader's: a copy of the bytes at a place, which may be written over from now on.

        Raises:
            ValueError: there is no such place.
        """
        if not _HEAD <= at <= at + size <= len(self._memory):
            raise ValueError(f"a place {at} of {size} bytes on no shelf")
        data = copied(self._memory[at : at + size])
        self._taken += 1
        _COUNT.pack_into(self._memory, 0, self._taken)
        return data
