"""One writer a corpus: a lease in the lake that expires when its owner dies.

Each owner has an epoch of its own, `lease/0000000N.json`, made with put-if-absent; the highest number holds. The
owner renews it by `0000000N.beat` and ends it by `0000000N.done`. The lease saves work, it does not guard the data:
publishing is guarded by the catalog's own put-if-absent and by the version that each commit was made on.

An owner that gives way, such as a backfill of days, ends early when another writer asks by `0000000N.wanted`.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime

from operators.lake.layout import Layout
from operators.storage import Storage, explained, join
from schemas.card import Frozen
from schemas.errors import ConflictError, LakeError

TTL_S = 60.0
GIVES_WAY_S = 900.0
"""So long a writer waits at least for an owner that gives way: it publishes what it has first."""
_BEATS = 4
_POLL_S = 1.0
_LISTEN_S = 3.0


class Owner(Frozen):
    """Who holds an epoch. `machine` and `process` tell a process of the same machine whether the owner is alive."""

    host: str
    machine: str
    process: str
    what: str
    since: AwareDatetime
    beat: AwareDatetime
    ttl_s: float
    gives_way: bool = False


@dataclass(slots=True)
class Lease:
    """A held lease; `check` before every step that others would see. `wanted`: another writer waits for it."""

    name: str
    lost: threading.Event = field(default_factory=threading.Event)
    wanted: threading.Event = field(default_factory=threading.Event)

    def check(self) -> None:
        """Raise if another writer has taken over.

        Raises:
            ConflictError: this process was taken for dead.
        """
        if self.lost.is_set():
            raise ConflictError(
                f"{self.name} was taken over by another run while this one stood still; nothing was published: "
                f"run it again"
            )


@contextmanager
def held(
    lake: str,
    corpus: str,
    storage: Storage,
    what: str,
    wait_s: float = 0.0,
    ttl_s: float = TTL_S,
    gives_way: bool = False,
) -> Iterator[Lease]:
    """Hold the lease of a corpus for the block.

    Args:
        lake: its URI.
        corpus: which.
        storage: how to reach it.
        what: the writer, as others are told of it.
        wait_s: how long to wait for another writer.
        ttl_s: seconds after which an owner elsewhere that has stopped counts as dead.
        gives_way: this writer watches `Lease.wanted` and ends soon after it is set.

    Raises:
        ConflictError: another writer holds it, and still did after `wait_s` seconds.
    """
    book = _Book(Layout(lake).lease(corpus), storage)
    with explained(book.uri, LakeError):
        epoch = _acquire(book, f"corpus '{corpus}' of {lake}", what, wait_s, ttl_s, gives_way)
    lease, ended = Lease(f"corpus '{corpus}' of {lake}"), threading.Event()
    renewal = threading.Thread(target=_renew, args=(book, epoch, lease, ended, ttl_s, gives_way), daemon=True)
    renewal.start()
    try:
        yield lease
    finally:
        ended.set()
        renewal.join()
        with explained(book.uri, LakeError):
            storage.put(book.path(epoch, "done"), b"{}")


def _acquire(book: _Book, name: str, what: str, wait_s: float, ttl_s: float, gives_way: bool) -> int:
    started, asked = time.monotonic(), 0
    while True:
        epoch, owner = book.latest()
        if owner is None or not _alive(owner):
            now = datetime.now(UTC)
            mine = Owner(
                host=socket.gethostname(),
                machine=_machine(),
                process=_process(os.getpid()),
                what=what,
                since=now,
                beat=now,
                ttl_s=ttl_s,
                gives_way=gives_way,
            )
            if book.storage.put_if_absent(book.path(epoch + 1, "json"), mine.model_dump_json().encode()):
                return epoch + 1
            continue
        polite = owner.gives_way and not gives_way
        if polite and asked != epoch:
            book.storage.put(book.path(epoch, "wanted"), b"{}")
            asked = epoch
        if time.monotonic() - started >= (max(wait_s, GIVES_WAY_S) if polite else wait_s):
            raise ConflictError(
                f"{name} is held by {owner.what} (process {owner.process.split()[0]} on {owner.host}, since "
                f"{owner.since:%Y-%m-%d %H:%M:%S} UTC): wait for it, or give --wait-minutes"
            )
        time.sleep(_POLL_S)


def _renew(
    book: _Book, epoch: int, lease: Lease, ended: threading.Event, ttl_s: float, gives_way: bool
) -> None:
    pause_s = min(ttl_s / _BEATS, _LISTEN_S) if gives_way else ttl_s / _BEATS
    while not ended.wait(pause_s):
        try:
            names = book.storage.names(book.uri)
            if _numbers(names)[-1] != epoch:
                lease.lost.set()
                return
            if f"{epoch:08d}.wanted" in names:
                lease.wanted.set()
            book.storage.put(book.path(epoch, "beat"), datetime.now(UTC).isoformat().encode())
        except Exception:  # noqa: S112 - a beat that is lost is followed by others; the lease outlives three
            continue


@dataclass(frozen=True, slots=True)
class _Book:
    """The lease's folder."""

    uri: str
    storage: Storage

    def path(self, epoch: int, kind: str) -> str:
        return join(self.uri, f"{epoch:08d}.{kind}")

    def latest(self) -> tuple[int, Owner | None]:
        """The newest epoch (0 before the first), and its owner unless it has ended."""
        names = self.storage.names(self.uri)
        numbers = _numbers(names)
        if not numbers:
            return 0, None
        epoch = numbers[-1]
        if f"{epoch:08d}.done" in names:
            return epoch, None
        owner = Owner.model_validate_json(self.storage.read(self.path(epoch, "json")))
        if f"{epoch:08d}.beat" in names:
            beat = datetime.fromisoformat(self.storage.read(self.path(epoch, "beat")).decode())
            owner = owner.model_copy(update={"beat": beat})
        return epoch, owner


def _numbers(names: list[str]) -> list[int]:
    return [int(name[:8]) for name in names if name.endswith(".json")]


def _alive(owner: Owner) -> bool:
    """A process of this machine is looked at; one elsewhere is alive for a time after its last beat."""
    if owner.machine and owner.machine == _machine():
        return _process(int(owner.process.split()[0])) == owner.process
    return datetime.now(UTC) - owner.beat < timedelta(seconds=owner.ttl_s)


def _machine() -> str:
    """This boot of this machine and the namespace of its process ids; empty where the system tells neither."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process(pid: int) -> str:
    """A running process' id and the tick at which it started: ids are used again. A zombie does not run."""
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return f"{pid} "
    return f"{pid} " if state in "ZX" else f"{pid} {fields[18]}"
