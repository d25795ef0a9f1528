"""One way in a fresh process: what it and all that it starts spend, and its end half-way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.benchmarks.meter import EVERY_S, Tree
from tests.benchmarks.peers.work import calls, steady

_LEFT_BEHIND_S = 20.0


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
    steady_rows: float
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
        held=dict(tree.held),
        steady_rows=steady_rows,
        model_rows=sum(rows for _, _, rows in own),
        ended=end.exists(),
    )


def _rows(log: Path, before: int) -> int:
    return sum(rows for _, _, rows in calls(log)[before:])


def _watch(child: subprocess.Popen[bytes], tree: Tree, doomed: Callable[[], bool]) -> None:
    done = threading.Event()

    def look() -> None:
        while not done.wait(EVERY_S):
            tree.sample()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        while child.poll() is None:
            if doomed():
                child.send_signal(signal.SIGKILL)
                child.wait()
            time.sleep(EVERY_S / 5)
    finally:
        done.set()
        thread.join()


def _gone(tree: Tree) -> None:
    """Wait for what a child leaves behind, and end what stays."""
    _, alive = psutil.wait_procs(list(tree.processes.values()), timeout=_LEFT_BEHIND_S)
    for process in alive:
        process.kill()
