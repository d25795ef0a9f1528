"""What a child takes from itself before it sees the first byte of an asset. Linux has all of it, others a part."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

from operators.isolation.sandbox import confine
from schemas.config import DecodeConfig

_OOM_SCORE = Path("/proc/self/oom_score_adj")


def restrict(limits: DecodeConfig, lifeline: int) -> None:
    """Give up memory, core dumps, large files, other files and the network; die first, and with the parent.

    Args:
        limits: of one asset.
        lifeline: the read end of a pipe whose other end only the parent has.
    """
    for number in (signal.SIGIO, signal.SIGXCPU):
        signal.signal(number, signal.SIG_DFL)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, limits.scratch_bytes)
    if mapped := address_space():
        _lower(resource.RLIMIT_AS, mapped + limits.memory_bytes)
        with suppress(OSError):
            _OOM_SCORE.write_text("1000")
    _die_with_parent(lifeline)
    confine()


def refresh_cpu(seconds: int) -> None:
    """Allow so many CPU seconds from now on; the system ends the process after them."""
    soft = int(time.process_time()) + seconds + 1
    before, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if before == soft:
        return
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard < 0 else min(soft, hard), hard))


def address_space() -> int:
    """Bytes that the process has mapped; 0 where the system does not tell."""
    statm = _statm()
    return int(os.pread(statm, 64, 0).split()[0]) * resource.getpagesize() if statm is not None else 0


@cache
def _statm() -> int | None:
    # Asked after every asset: kept open, it costs two microseconds.
    with suppress(OSError):
        return os.open("/proc/self/statm", os.O_RDONLY)
    return None


def _lower(kind: int, soft: int) -> None:
    _, hard = resource.getrlimit(kind)
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (soft if hard < 0 else min(soft, hard),) * 2)


def _die_with_parent(lifeline: int) -> None:
    # A thread that watches could be kept waiting by a decoder that holds the interpreter's lock, and
    # PR_SET_PDEATHSIG fires when the parent's thread ends. SIGIO comes from the kernel, and its default is to die.
    with suppress(OSError):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | fcntl.FASYNC)
