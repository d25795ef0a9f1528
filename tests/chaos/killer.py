"""Start a run in a process of its own and kill a part of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

REPO = Path(__file__).resolve().parents[2]
PATIENCE_S = 300
Victim = Literal["driver", "actor", "task", "raylet"]
VICTIMS: tuple[Victim, ...] = ("driver", "actor", "task", "raylet")
_TITLES = {"actor": "(Embed)", "task": "(Read)", "raylet": "raylet"}


@dataclass(frozen=True)
class Run:
    """A driver process and the Ray processes below it."""

    process: subprocess.Popen[str]

    @classmethod
    def start(
        cls,
        source: Path,
        lake: Path,
        ledger: Path,
        failpoint: str = "",
        work: Literal["embed", "backfill"] = "embed",
        apart: bool = False,
    ) -> Run:
        """Start one that decodes in its actors, or in tasks apart."""
        places = (str(source), str(lake), str(ledger))
        command = [sys.executable, "-m", "tests.chaos.driver", *places, failpoint, work, "apart" * apart]
        environment = {**os.environ, "RAY_worker_niceness": "0"}
        process = subprocess.Popen(
            command, cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        return cls(process)

    def tree(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self, victim: Victim) -> bool:
        """Kill the victim with SIGKILL; False when it does not run yet or any more."""
        if victim == "driver":
            alive = self.process.poll() is None
            self.process.kill()
            return alive
        for process in self.tree():
            try:
                if _TITLES[victim] in _title(process):
                    process.kill()
                    return True
            except psutil.NoSuchProcess:
                continue
        return False

    def wait(self) -> int:
        """The exit status; what is left of the run's Ray is ended. A run that succeeds says its JSON and no more."""
        below = self.tree()
        try:
            out, _ = self.process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            end(below + self.tree())
        if self.process.returncode == 0:
            json.loads(out)
        return self.process.returncode


def _title(process: psutil.Process) -> str:
    return " ".join(process.cmdline()[:1]) or process.name()


def end(processes: list[psutil.Process]) -> None:
    """SIGKILL for what still runs."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)
