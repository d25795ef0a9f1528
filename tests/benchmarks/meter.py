"""What a process and all below it spend: CPU seconds and memory, sampled while it runs."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.killer import REPO, end

_EVERY_S = 0.25


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds on the clock, CPU seconds of all processes, and the most memory that they held at once, in MB.

    Memory is proportional (PSS): what processes share, such as the object store, counts once.
    """

    out: str
    wall: float
    cpu: float
    peak_mb: float


def metered(command: Sequence[str]) -> Spent:
    """Run a command to its end; a process' last quarter of a second may be missed.

    Raises:
        RuntimeError: it failed; with its last lines.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    root, cpu, peak = psutil.Process(process.pid), dict[tuple[int, float], float](), 0.0
    below: list[psutil.Process] = []
    while process.poll() is None:
        try:
            below = root.children(recursive=True)
        except psutil.NoSuchProcess:
            break
        peak = max(peak, sum(_sampled(one, cpu) for one in [root, *below]))
        time.sleep(_EVERY_S)
    out, error = process.communicate()
    end(below)
    if process.returncode:
        raise RuntimeError(f"{command}: {error[-2000:]}")
    return Spent(out, time.perf_counter() - started, sum(cpu.values()), peak / 1e6)


def _sampled(process: psutil.Process, cpu: dict[tuple[int, float], float]) -> int:
    """Bytes of a process now; what it has spent so far is noted."""
    try:
        times = process.cpu_times()
        cpu[process.pid, process.create_time()] = times.user + times.system
        return _pss(process.pid)
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return 0


def _pss(pid: int) -> int:
    """Proportional bytes, from the sum that the kernel keeps: walking every mapping costs what is measured."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
