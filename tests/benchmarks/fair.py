"""What makes plain ways comparable: which of them give less than a decoder, and the CPU of all processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil

from schemas.errors import AssetError, ErrorCode
from tests.benchmarks import plain

_HOLE = 600
Way = Callable[[bytes], Any]


def shortfalls(ours: Way, ways: Mapping[str, Way], data: bytes) -> dict[str, str]:
    """By the name of each way that gives less than ours, what it leaves out."""
    seen = {what: bad for what, bad in damaged(data).items() if _reported(ours, bad)}
    less = {}
    for name, way in ways.items():
        missed = [what for what, bad in seen.items() if _gives(way, bad)]
        said = ([f"does not notice {' or '.join(missed)}"] if missed else []) + [
            text for known, text in plain.LESS.items() if known == name
        ]
        if said:
            less[name] = "; ".join(said)
    return less


def damaged(data: bytes) -> dict[str, bytes]:
    """The file with each damage, by its name."""
    at = len(data) // 2
    return {
        "a cut": data[:at],
        "zeros": data[:at] + bytes(_HOLE) + data[at + _HOLE :],
        "missing bytes": data[:at] + data[at + _HOLE :],
    }


def _reported(ours: Way, data: bytes) -> bool:
    try:
        ours(data)
    except AssetError as error:
        return error.code is ErrorCode.CORRUPT
    return False


def _gives(way: Way, data: bytes) -> bool:
    try:
        way(data)
    except Exception:
        return False
    return True


def clock() -> Callable[[], float]:
    """What tells the CPU seconds of this process and of the children that it has now, with all of their threads."""
    clocks = [cpu_clock(child.pid) for child in psutil.Process().children()]
    return lambda: time.process_time() + sum(map(time.clock_gettime, clocks))


def cpu_clock(pid: int) -> int:
    """The id of another process' CPU clock, as `clock_getcpuclockid` of Linux makes it; exact to the nanosecond."""
    return (~pid << 3) | 2
