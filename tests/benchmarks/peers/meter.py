"""A child and everything it starts: seconds of processors, memory that is its own, and its end half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.benchmarks.peers.work import calls, steady

_EVERY_S = 0.25
_MEMORY_EVERY = 4
"""Reading the memory maps of a score of processes costs: once a second."""
_LEFT_BEHIND_S = 20.0


@dataclass(slots=True)
class Tree:
    """A process and its descendants, sampled. `cpu` are pairs of the machine's clock and processor seconds."""

    root: psutil.Process
    cpu: list[tuple[float, float]] = field(default_factory=list)
    peak_bytes: int = 0
    held: dict[str, int] = field(default_factory=dict)
    processes: dict[int, psutil.Process] = field(default_factory=dict)
    _seconds: dict[int, float] = field(default_factory=dict)

    def sample(self, memory: bool) -> None:
        """Look once; a process that has ended keeps the seconds it was last seen with."""
        held: Counter[str] = Counter()
        for process in self._alive():
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    self._seconds[process.pid] = times.user + times.system
                    if memory:
                        held[_title(process)] += process.memory_full_info().pss
            except (psutil.Error, ProcessLookupError):
                continue
        self.cpu.append((time.monotonic(), sum(self._seconds.values())))
        if held.total() > self.peak_bytes:
            self.peak_bytes, self.held = held.total(), dict(held)

    def _alive(self) -> list[psutil.Process]:
        try:
            found = [self.root, *self.root.children(recursive=True)]
        except psutil.Error:
            found = []
        self.processes.update({process.pid: process for process in found})
        return found

    def cpu_at(self, moment: float) -> float:
        """Processor seconds until then, by the last look before."""
        return max((seconds for at, seconds in self.cpu if at <= moment), default=0.0)


def _title(process: psutil.Process) -> str:
    """The kind of a process: as Ray names its workers, else its program and the module or script it runs."""
    words = process.cmdline()
    if not words or words[0].startswith("ray::"):
        return " ".join(words)[:60]
    return " ".join(Path(word).name for word in words[:4] if not word.startswith("--"))[:60]


@dataclass(frozen=True, slots=True)
class Run:
    """What a child came to. Seconds: `whole` from its start to its end, `steady` from when the model was loaded
    everywhere to the output's commit, with `steady_rows` in it; `cpu` and `steady_cpu` of all its processes in these;
    `model_rows` went through the model;
    `held` is the peak by kind of process.
    """

    whole: float
    steady: float
    cpu: float
    steady_cpu: float
    peak_bytes: int
    held: dict[str, int]
    steady_rows: int
    model_rows: int
    ended: bool


class ChildError(RuntimeError):
    """A way ended with an error; the message has the end of what it said."""


def run(arguments: list[str], log: Path, kill_at: int | None = None) -> Run:
    """Run one way in a fresh process; with `kill_at` it is killed once so many rows have gone through the model.

    Raises:
        ChildError: it failed.
    """
    end = log.with_suffix(".end")
    end.unlink(missing_ok=True)
    before = len(calls(log))
    with tempfile.TemporaryFile() as said:
        started = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.peers.child", *arguments],
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "DAFT_PROGRESS_BAR": "0"},
        )
        tree = Tree(psutil.Process(child.pid))
        _watch(child, tree, lambda: kill_at is not None and _rows(log, before) >= kill_at)
        stopped = time.monotonic()
        _gone(tree)
        if child.returncode and kill_at is None:
            said.seek(0)
            raise ChildError(f"{arguments[:2]}: {said.read().decode(errors='replace')[-2000:]}")
    own = calls(log)[before:]
    finished = float(end.read_text()) if end.exists() else stopped
    first, steady_rows = steady(own) if any(rows for _, _, rows in own) else (finished, 0)
    return Run(
        whole=stopped - started,
        steady=finished - first,
        cpu=tree.cpu[-1][1],
        steady_cpu=tree.cpu_at(finished) - tree.cpu_at(first),
        peak_bytes=tree.peak_bytes,
        held=tree.held,
        steady_rows=steady_rows,
        model_rows=sum(rows for _, _, rows in own),
        ended=end.exists(),
    )


def _rows(log: Path, before: int) -> int:
    return sum(rows for _, _, rows in calls(log)[before:])


def _watch(child: subprocess.Popen[bytes], tree: Tree, doomed: Callable[[], bool]) -> None:
    done = threading.Event()

    def look() -> None:
        count = 0
        while not done.wait(_EVERY_S):
            tree.sample(memory=count % _MEMORY_EVERY == 0)
            count += 1

    thread = threading.Thread(target=look)
    thread.start()
    try:
        while child.poll() is None:
            if doomed():
                child.send_signal(signal.SIGKILL)
                child.wait()
            time.sleep(_EVERY_S / 5)
    finally:
        done.set()
        thread.join()


def _gone(tree: Tree) -> None:
    """Wait for what a child leaves behind, and end what stays."""
    _, alive = psutil.wait_procs(list(tree.processes.values()), timeout=_LEFT_BEHIND_S)
    for process in alive:
        process.kill()
