"""Decoders that do to their process what the worst files do to real ones; what they do is in the file's first word.

`decode` stands in for the registry's, and a `Killer` is a counter of tokens: it travels into the child, so a real run
with a model that counts by it dies inside a real decoder.
"""

from __future__ import annotations

import ctypes
import io
import mmap
import os
import re
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import psutil

from operators.decode import registry
from operators.decode.sniff import MediaType
from operators.isolation.wire import PREFIX
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import Modality
from schemas.config import DecodeConfig
from tests.models.hashed import HashPreparer, HashSpec, WordCounter

ENTRY = "tests.fuzz.killers:decode"
_PLANTED = re.compile(r"KILL:(\w+)")


def _segfault() -> None:
    ctypes.string_at(0)


def _abort() -> None:
    os.abort()


def _leave() -> None:
    os._exit(7)


def _sleep() -> None:
    time.sleep(3600)


def _hold_the_lock() -> None:
    """A native call that never comes back and never lets Python run."""
    ctypes.PyDLL(None).pause()


def _spin() -> None:
    while True:
        pass


def _backtrack() -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")


def _allocate() -> None:
    np.ones(10 << 30, np.uint8)


def _allocate_natively() -> None:
    """As `malloc` without a look at what it returned."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
    libc.memset(libc.malloc(10 << 30), 1, 1 << 20)


def _leak() -> None:
    held = []
    while True:
        held.append(bytearray(16 << 20))


def _bus_error() -> None:
    with _short_file() as file:
        view = mmap.mmap(file.fileno(), mmap.PAGESIZE * 2)
        os.ftruncate(file.fileno(), 0)
        view[0]


def _short_file() -> BinaryIO:
    file = open(os.memfd_create("short"), "w+b")  # noqa: SIM115
    file.truncate(mmap.PAGESIZE * 2)
    return file


def _chatter() -> None:
    for fd in (1, 2):
        for _ in range(256):
            os.write(fd, b"garbage\xff\0" * 8192)


def _breed() -> None:
    """Grandchildren that would outlive their parent."""
    for _ in range(4):
        if os.fork() == 0:
            time.sleep(3600)
    os.abort()


def _write_files() -> None:
    with open(f"{os.environ.get('TMPDIR', '/tmp')}/embedlake-killer", "wb") as file:
        os.unlink(file.name)
        for _ in range(1024):
            file.write(b"\0" * (1 << 20))


def _lie_on_the_wire() -> None:
    """What a decoder that was taken over could say to the parent."""
    _say(b"\xff" * 64)


def _misplace() -> None:
    """A frame like any other, but that its bytes lie outside of what is shared."""
    _say(PREFIX.pack(2, 1 << 20, 1 << 40) + b"{}")


def _scramble() -> None:
    """What it has gathered for the parent is overwritten, and then there is silence."""
    for fd in range(3, 64):
        try:
            # A socket has no place to write to.
            os.pwrite(fd, b"\xff" * 4096, 0)
        except OSError:
            continue
    _sleep()


def _say(what: bytes) -> None:
    for fd in range(3, 4096):
        try:
            os.write(fd, what)
        except OSError:
            continue


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


KILLERS: dict[str, Callable[[], None]] = {
    "segfault": _segfault,
    "abort": _abort,
    "leave": _leave,
    "sleep": _sleep,
    "lock": _hold_the_lock,
    "spin": _spin,
    "backtrack": _backtrack,
    "allocate": _allocate,
    "malloc": _allocate_natively,
    "leak": _leak,
    "bus": _bus_error,
    "chatter": _chatter,
    "breed": _breed,
    "write": _write_files,
    "lie": _lie_on_the_wire,
    "misplace": _misplace,
    "scramble": _scramble,
    "killed": _interrupt,
}


def alive(limits: DecodeConfig) -> list[int]:
    """The processes that decode here with these limits, and those that a decoder in them has forked."""
    mine = (ENTRY, limits.model_dump_json())
    return [p.pid for p in psutil.process_iter(["cmdline"]) if tuple((p.info["cmdline"] or [])[-2:]) == mine]


def decode(
    file: BinaryIO, name: str, recipe: Any, card: Any, counter: Any, open_ref: Any
) -> tuple[MediaType, Iterator[Segment]]:
    """The registry's decoders, but for files that are planted."""
    file.seek(0)
    words = file.read(4096).decode("latin-1").split()
    file.seek(0, io.SEEK_SET)
    if words[:1] == ["PLANTED"]:
        return MediaType("text/plain", Modality.TEXT), _planted(words[1], words[2:])
    return registry.decode(file, name, recipe, card, counter, open_ref)


def _planted(what: str, arguments: list[str]) -> Iterator[Segment]:
    """Some segments first, then the end; `endless` never comes to it, `once` comes to it the first time alone.

    A `spy` ends well, and tells what it found out.
    """
    if what == "spy":
        yield _segment(" ".join(_reached(arguments)))
        return
    if what == "endless":
        number = 0
        while True:
            yield _segment(number)
            number += 1
    for number in range(int(arguments[0]) if arguments else 0):
        yield _segment(number)
    if what == "once":
        mark = Path(arguments[1])
        if not mark.exists():
            mark.touch()
            KILLERS[arguments[2] if len(arguments) > 2 else "abort"]()
        yield _segment(-1)
        return
    KILLERS[what]()
    yield _segment(-1)


def _reached(places: list[str]) -> Iterator[str]:
    """Those of some files and ports that a decoder can open."""
    for place in places:
        try:
            if place.isdigit():
                socket.create_connection(("127.0.0.1", int(place)), 2).close()
            else:
                Path(place).read_bytes()
            yield place
        except OSError:
            continue


def _segment(what: int | str) -> Segment:
    text, where = f"segment {what}", Locator(char_start=what if isinstance(what, int) else None)
    return Segment(Modality.TEXT, (Part(PartKind.TEXT, text),), where, text)


class Killer(WordCounter):
    """Counts words, unless the text tells it to kill."""

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        if found := _PLANTED.search(text):
            KILLERS[found[1]]()
        return super().offsets(text)


class KillerPreparer(HashPreparer):
    """Counts in the child by `Killer`, here by words."""

    counter = Killer()

    def prepare(self, inputs: Any) -> Any:
        return HashPreparer(self.card).prepare(inputs)


@dataclass(frozen=True)
class KillerSpec(HashSpec):
    """The weightless model whose tokenizer kills."""

    salt: str = "killer"

    def preparer(self, role: str) -> KillerPreparer:
        return KillerPreparer(self.card)
