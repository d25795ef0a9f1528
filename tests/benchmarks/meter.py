"""What a process and all below it spend: CPU seconds by role and memory, sampled while it runs."""

from __future__ import annotations

import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.killer import REPO, end

_EVERY_S = 0.25
DRIVER = "driver"
_ROLES = {
    "operators.isolation": "isolated decoders",
    "(Embed)": "embedding actors",
    "(Read)": "decode tasks",
}
_OWN = "Ray's own"


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds on the clock, CPU seconds of all processes by role, and the most MB that they held at once.

    Memory is proportional (PSS): what processes share, such as the object store, counts once.
    """

    out: str
    wall: float
    roles: dict[str, float]
    peak_mb: float

    @property
    def cpu(self) -> float:
        """CPU seconds in all."""
        return sum(self.roles.values())


@dataclass(slots=True)
class _Seen:
    role: str = _OWN
    cpu: float = 0.0


@dataclass(slots=True)
class _Meter:
    """Everything ever seen below a process, by id and start."""

    root: psutil.Process
    seen: dict[tuple[int, float], _Seen] = field(default_factory=dict)
    peak: int = 0
    below: list[psutil.Process] = field(default_factory=list)

    def look(self) -> None:
        """Sample all of them once."""
        self.below = self.root.children(recursive=True)
        self.peak = max(self.peak, sum(self._sampled(one) for one in [self.root, *self.below]))

    def _sampled(self, process: psutil.Process) -> int:
        try:
            times, title = process.cpu_times(), " ".join(process.cmdline())
            one = self.seen.setdefault((process.pid, process.create_time()), _Seen())
            one.cpu = times.user + times.system
            named = [role for part, role in _ROLES.items() if part in title]
            one.role = DRIVER if process == self.root else next(iter(named), one.role)
            return _pss(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
            return 0


def metered(command: Sequence[str]) -> Spent:
    """Run a command to its end; a process' last quarter of a second may be missed.

    Raises:
        RuntimeError: it failed; with its last lines.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    meter = _Meter(psutil.Process(process.pid))
    while process.poll() is None:
        try:
            meter.look()
        except psutil.NoSuchProcess:
            break
        time.sleep(_EVERY_S)
    out, error = process.communicate()
    end(meter.below)
    if process.returncode:
        raise RuntimeError(f"{command}: {error[-2000:]}")
    roles: defaultdict[str, float] = defaultdict(float)
    for one in meter.seen.values():
        roles[one.role] += one.cpu
    return Spent(out, time.perf_counter() - started, dict(roles), meter.peak / 1e6)


def _pss(pid: int) -> int:
    """Proportional bytes, from the sum that the kernel keeps: walking every mapping costs what is measured."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
