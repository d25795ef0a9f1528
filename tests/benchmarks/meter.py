"""What a process and all below it spend: CPU seconds and memory of its own, sampled while it runs."""

from __future__ import annotations

import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos.killer import REPO, end

EVERY_S = 0.25
DRIVER = "driver"
_MEMORY_EVERY, _GROWN = 4, 1.01
"""Reading the memory maps of a score of processes takes a tenth of a core for as long as it is done once a second: only
when what is resident has grown by so much since it was last done.
"""
_ROLES = {
    "operators.isolation": "isolated decoders",
    "(Embed)": "embedding actors",
    "(Read)": "decode tasks",
}
_OWN = "Ray's own"


@dataclass(slots=True)
class Tree:
    """A process and its descendants, sampled.

    `cpu` are pairs of the machine's clock and processor seconds so far, `held` the bytes of each kind of process when
    they were most in all: proportional ones (PSS), as what processes share, such as the object store, counts once.
    """

    root: psutil.Process
    cpu: list[tuple[float, float]] = field(default_factory=list)
    held: Counter[str] = field(default_factory=Counter)
    processes: dict[int, psutil.Process] = field(default_factory=dict)
    _resident: int = 0
    _seconds: dict[int, float] = field(default_factory=dict)
    _roles: dict[int, str] = field(default_factory=dict)

    @property
    def peak_bytes(self) -> int:
        """The most that all of them held at once."""
        return self.held.total()

    def sample(self) -> None:
        """Look once, at the memory in some looks; a process that has ended keeps what it was last seen with."""
        titles: dict[psutil.Process, str] = {}
        resident = 0
        for process in self._alive():
            try:
                with process.oneshot():
                    times, words = process.cpu_times(), process.cmdline()
                    self._seconds[process.pid] = times.user + times.system
                    self._roles[process.pid] = self._role(process, " ".join(words))
                    titles[process] = _title(words)
                    resident += process.memory_info().rss
            except (psutil.Error, ProcessLookupError):
                continue
        if len(self.cpu) % _MEMORY_EVERY == 0 and resident > _GROWN * self._resident:
            self._resident = resident
            self.held = max(self.held, _held(titles), key=Counter.total)
        self.cpu.append((time.monotonic(), sum(self._seconds.values())))

    def cpu_at(self, moment: float) -> float:
        """Processor seconds until then, by the last look before."""
        return max((seconds for at, seconds in self.cpu if at <= moment), default=0.0)

    def roles(self) -> dict[str, float]:
        """Processor seconds by what processes are to a run."""
        found: defaultdict[str, float] = defaultdict(float)
        for pid, seconds in self._seconds.items():
            found[self._roles[pid]] += seconds
        return dict(found)

    def _alive(self) -> Iterator[psutil.Process]:
        try:
            found = [self.root, *self.root.children(recursive=True)]
        except psutil.Error:
            found = []
        self.processes.update({process.pid: process for process in found})
        yield from found

    def _role(self, process: psutil.Process, title: str) -> str:
        if process == self.root:
            return DRIVER
        return next(
            (role for part, role in _ROLES.items() if part in title), self._roles.get(process.pid, _OWN)
        )


def _held(titles: dict[psutil.Process, str]) -> Counter[str]:
    held: Counter[str] = Counter()
    for process, title in titles.items():
        with suppress(psutil.Error, ProcessLookupError):
            held[title] += process.memory_full_info().pss
    return held


def _title(words: list[str]) -> str:
    """The kind of a process: as Ray names its workers, else its program and the module or script it runs."""
    if not words or words[0].startswith("ray::"):
        return " ".join(words)[:60]
    return " ".join(Path(word).name for word in words[:4] if not word.startswith("--"))[:60]


@dataclass(frozen=True, slots=True)
class Spent:
    """What a command said, its seconds on the clock, CPU seconds of its processes by role, and their peak memory."""

    out: str
    wall: float
    roles: dict[str, float]
    peak_mb: float

    @property
    def cpu(self) -> float:
        """CPU seconds in all."""
        return sum(self.roles.values())


def metered(command: Sequence[str]) -> Spent:
    """Run a command to its end; a process' last quarter of a second may be missed.

    Raises:
        RuntimeError: it failed; with its last lines.
    """
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    tree = Tree(psutil.Process(process.pid))
    while process.poll() is None:
        tree.sample()
        time.sleep(EVERY_S)
    out, error = process.communicate()
    end(list(tree.processes.values()))
    if process.returncode:
        raise RuntimeError(f"{command}: {error[-2000:]}")
    return Spent(out, time.perf_counter() - started, tree.roles(), tree.peak_bytes / 1e6)
