"""The parent's side of one child: start it, talk to it, and tell how it ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO, cast

from operators.isolation.shelf import NONE, Buffer, Shelf, shared
from operators.isolation.stream import Arriving, box, left_behind
from operators.isolation.wire import BrokenFrameError, Frame, header_of, send
from schemas.config import DecodeConfig
from schemas.errors import EmbedlakeError, ErrorCode

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from operators.isolation.child import main; main(*map(int, sys.argv[2:6]), *sys.argv[6:])"
)
_INHERITED = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR", "TZ")
_FIXED = {
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "MALLOC_ARENA_MAX": "1",
    # glibc's own upper bounds from the start: a picture's pages would else go and come with each asset.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Looking for them reads what every installed package says of itself.
    "PYDANTIC_DISABLE_PLUGINS": "__all__",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_START_S = 120.0
_END_S = 2.0


class ChildDiedError(Exception):
    """The child is gone, and with it the asset that it was at."""

    def __init__(self, code: ErrorCode, detail: str, from_outside: bool = False) -> None:
        super().__init__(code, detail)
        self.code, self.detail, self.from_outside = code, detail, from_outside


class ChildProcess:
    """A fresh interpreter with an allow list of variables and none of the parent's files.

    `popen` starts a program and not a copy of this process, so that Lance and torch may live in it.
    """

    def __init__(self, limits: DecodeConfig, entry: str) -> None:
        """Start it and wait until it is ready.

        Raises:
            EmbedlakeError: it does not start: this machine is at fault, and no asset.
        """
        self._limits = limits
        ours, theirs = socket.socketpair()
        lifeline, held = os.pipe()
        self._held = open(held, "wb", buffering=0)  # noqa: SIM115 (held as long as the child may live)
        path = json.dumps([os.path.abspath(folder) for folder in sys.path])
        self._box = box()
        self._death: ChildDiedError | None = None
        self._rest: bytes | None = b""
        self.begun = 0
        """Of its assets, when it had ended."""
        shelves = shared()
        self.inbox, self._outbox = Shelf.pair(shelves)
        fds = (theirs.fileno(), lifeline, self._box.fileno(), shelves)
        words = [*map(str, fds), entry, limits.model_dump_json()]
        with theirs, tempfile.TemporaryFile() as said:
            try:
                self._process = subprocess.Popen(  # noqa: S603 (this interpreter)
                    [sys.executable, "-I", "-c", _BOOT, path, *words],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    cwd="/",
                    env={**{k: os.environ[k] for k in _INHERITED if k in os.environ}, **_FIXED},
                    pass_fds=[fd for fd in fds if fd != NONE],
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise _unstarted(str(error)) from error
            finally:
                os.close(lifeline)
                if shelves != NONE:
                    os.close(shelves)
            self._sock, self._arriving = ours, Arriving(ours)
            threading.Thread(target=_end_with, args=(self.pid,), daemon=True).start()
            self._wait_until_ready(theirs, said)
        ours.settimeout(limits.timeout_seconds)

    def _wait_until_ready(self, theirs: socket.socket, said: BinaryIO) -> None:
        theirs.close()
        self._sock.settimeout(_START_S)
        try:
            self.receive()
        except ChildDiedError as died:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:]
            raise _unstarted(" ".join([died.detail, *last])) from died

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    def send(self, buffers: Sequence[Buffer], fd: int | None = None) -> None:
        """Tell the child something.

        Raises:
            ChildDiedError: it cannot be told any more.
        """
        if self._death is None:
            try:
                return send(self._sock, buffers, fd)
            except TimeoutError:
                self._ends(self._silent())
            except OSError:
                self._ends(self._died())
        raise cast(ChildDiedError, self._death)

    def receive(self) -> Frame:
        """The child's next message; the time until it comes is what is limited.

        Of a child that has ended, first what it had said by then; `begun` tells at which of its assets it was.

        Raises:
            ChildDiedError: it ended, said nothing for too long, or spoke nonsense.
        """
        if self._death is None:
            try:
                return self._frame()
            except TimeoutError:
                self._ends(self._silent())
            except BrokenFrameError as error:
                self.kill()
                self._rest = None
                detail = f"the decoder's process sent {error}"
                self._ends(ChildDiedError(ErrorCode.DECODER_CRASHED, detail))
            except (EOFError, OSError):
                self._ends(self._died())
        try:
            return self._frame()
        except (EOFError, BrokenFrameError):
            self._arriving.end(None)
            raise cast(ChildDiedError, self._death) from None

    def _ends(self, death: ChildDiedError) -> None:
        self._death = death
        self._arriving.end(self._rest)

    def _frame(self) -> Frame:
        header, at, size, data = self._arriving.message(self._limits.memory_bytes)
        if at:
            try:
                data = self._outbox.take(at, size, bytearray)
            except ValueError as error:
                raise BrokenFrameError(str(error)) from error
        return Frame(header_of(header), data, mark=zlib.crc32(header))

    def _silent(self) -> ChildDiedError:
        seconds = self._sock.gettimeout()
        # What a dead decoder has started may hold its end of the socket open, from a session of its own.
        if (status := self.kill()) is not None:
            return self._ended(status)
        return ChildDiedError(ErrorCode.DECODER_TIMEOUT, f"no progress for {seconds:g} s")

    def hurry(self, seconds: float) -> None:
        """Wait no longer than this for a message from now on."""
        if self._death is None and self._sock.gettimeout() != seconds:
            self._sock.settimeout(seconds)

    def kill(self) -> int | None:
        """End the child and all that it has started; its exit status if it had ended before."""
        status = self._process.poll()
        # Its own session: whatever it has started is in its group.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if not self._box.closed:
            self._arriving.drain()
            self.begun, self._rest = left_behind(self._box, self._arriving.received)
            self._box.close()
        self._sock.close()
        self._held.close()
        return status

    def _died(self) -> ChildDiedError:
        # Its end of the socket closes a moment before its status can be had.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        status = self.kill()
        if status is None:
            return ChildDiedError(ErrorCode.DECODER_CRASHED, "the decoder's process hung up")
        return self._ended(status)

    def _ended(self, status: int) -> ChildDiedError:
        """Why it ended, by its exit status."""
        if status >= 0:
            return ChildDiedError(
                ErrorCode.DECODER_CRASHED, f"the decoder's process exited with status {status}"
            )
        if -status == signal.SIGXCPU:
            return ChildDiedError(
                ErrorCode.DECODER_TIMEOUT, f"more than {self._limits.cpu_seconds} CPU seconds"
            )
        if -status == signal.SIGKILL:
            detail = "the system killed the decoder's process (SIGKILL), as it does when memory runs out"
            return ChildDiedError(ErrorCode.OUT_OF_MEMORY, detail, from_outside=True)
        known = -status in {int(s) for s in signal.Signals}
        name = signal.Signals(-status).name if known else f"signal {-status}"
        return ChildDiedError(ErrorCode.DECODER_CRASHED, f"the decoder's process ended by {name}")


def _end_with(pid: int) -> None:
    """End what a child has started when it has ended: it may hold the child's end of the socket open."""
    if hasattr(os, "waitid"):  # macOS has it from Python 3.13 on
        with suppress(OSError):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            os.killpg(pid, signal.SIGKILL)


def _unstarted(why: str) -> EmbedlakeError:
    return EmbedlakeError(
        f"the process that decodes does not start ({' '.join(why.split())[:300]}): mend that, or decode without "
        f"containment with 'run: {{decode: {{isolated: false}}}}' in the config"
    )
