"""Interleaved rounds of every way over a workload; a night with a hundredth changed; a driver that is killed."""

from __future__ import annotations

import math
import os
import shutil
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.peers import outputs
from tests.benchmarks.peers.corpora import change
from tests.benchmarks.peers.meter import ChildError, Run, run

SAME_WORK = ("embedlake", "daft", "daft on ray", "ray data", "script")
OWN_WAY = {
    "documents": ("daft, own way", "sentence-transformers"),
    **dict.fromkeys(("images", "audio", "videos"), ("daft, own way", "daft, stock")),
}
LEAST_COSINE = 0.9999

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Trial:
    """A way on a corpus, where it writes, and where its model keeps its log."""

    way: str
    workload: str
    corpus: Path
    home: Path

    @property
    def out(self) -> Path:
        return self.home / "out"

    def run(self, kill_at: int | None = None) -> Run:
        """In a fresh process."""
        self.home.mkdir(parents=True, exist_ok=True)
        log = self.home / "model.log"
        return run([self.way, self.workload, str(self.corpus), str(self.out), str(log)], log, kill_at)


@dataclass(frozen=True, slots=True)
class Pair:
    """A way on an eighth of a corpus, and on all of it: what lies between them is no start, and no way's head start."""

    start: Run
    whole: Run

    @property
    def rows(self) -> int:
        """Through the model in the one and not in the other."""
        return self.whole.model_rows - self.start.model_rows

    @property
    def rows_per_second(self) -> float:
        """Of the rows between them; NaN where they take less than two starts differ by."""
        seconds = self.whole.whole - self.start.whole
        return self.rows / seconds if seconds > 0 else math.nan

    @property
    def cpu_ms(self) -> float:
        """Of each of these rows, in all processes."""
        return 1000 * (self.whole.cpu - self.start.cpu) / self.rows


def rounds(
    workload: str, corpora: tuple[Path, Path], home: Path, ways: tuple[str, ...], turns: int, say: Say
) -> dict[str, Any]:
    """Each way once a round, on a small corpus and a large one; what ways of the same work have written is compared."""
    small, corpus = corpora
    runs: dict[str, list[Pair]] = {way: [] for way in ways}
    rows: dict[str, int] = {}
    nearness: dict[str, float] = {}
    failures: dict[str, str] = {}
    reference: outputs.Output | None = None
    for turn in range(turns):
        for way in ways:
            if way in failures:
                continue
            trial = Trial(way, workload, corpus, home / f"{turn}-{ways.index(way)}")
            say(f"{workload}, round {turn + 1}: {way}")
            try:
                start = Trial(way, workload, small, trial.home / "start").run()
                runs[way].append(Pair(start, trial.run()))
            except ChildError as error:
                failures[way] = str(error)
                continue
            if turn == 0 and way in SAME_WORK:
                found = outputs.read(way, trial.out)
                reference, rows[way] = reference or found, len(found.keys)
                nearness[way] = found.nearness(reference)
            shutil.rmtree(trial.home)
    return {
        "workload": workload,
        "files": len(list(corpus.iterdir())),
        "ways": [
            {
                "way": way,
                "rows": rows.get(way, found[0].whole.model_rows),
                "nearness": nearness.get(way),
                **summary(found),
                "runs": [asdict(one) for one in found],
            }
            for way, found in runs.items()
            if found
        ],
        "failures": failures,
    }


def summary(runs: list[Pair]) -> dict[str, Any]:
    """Medians, and the least and the most where spread matters."""
    rates = [one.rows_per_second for one in runs]
    return {
        "rows_per_second": math.nan if any(map(math.isnan, rates)) else statistics.median(rates),
        "spread": [min(rates), max(rates)],
        "rows_per_second_with_start": statistics.median(
            one.whole.model_rows / one.whole.whole for one in runs
        ),
        "cpu_ms": statistics.median(one.cpu_ms for one in runs),
        "start_seconds": statistics.median(one.start.whole for one in runs),
        "peak_mb": statistics.median(one.whole.peak_bytes / 1e6 for one in runs),
    }


def night(workload: str, corpus: Path, home: Path, say: Say) -> list[dict[str, Any]]:
    """A corpus, and the same a day later with a hundredth of it changed; what peers write is written anew."""
    found = []
    for number, way in enumerate(SAME_WORK):
        today = home / f"today-{number}"
        today.mkdir(parents=True)
        for file in corpus.iterdir():
            os.link(file, today / file.name)
        trial = Trial(way, workload, today, home / f"night-{number}")
        say(f"night: {way}")
        first = trial.run()
        changed = change(corpus, today, 0.01)
        if way != "embedlake":
            shutil.rmtree(trial.out)
        again = trial.run()
        found.append(
            {
                "way": way,
                "files": len(list(today.iterdir())),
                "changed": changed,
                "first_seconds": first.whole,
                "seconds": again.whole,
                "cpu_seconds": again.cpu,
                "rows_embedded": again.model_rows,
            }
        )
    return found


def killed(workload: str, corpus: Path, home: Path, say: Say) -> list[dict[str, Any]]:
    """The driver killed when half of the rows are through the model; then the same command again."""
    found = []
    whole = Trial("script", workload, corpus, home / "whole")
    say("kill: the rows that there should be")
    needed = whole.run().model_rows
    reference = outputs.read("script", whole.out)
    for number, way in enumerate(SAME_WORK):
        trial = Trial(way, workload, corpus, home / f"killed-{number}")
        say(f"kill: {way}")
        first = trial.run(kill_at=needed // 2)
        second = trial.run()
        written = outputs.read(way, trial.out)
        repeated = first.model_rows + second.model_rows - needed
        found.append(
            {
                "way": way,
                "rows": needed,
                "killed_at": first.model_rows,
                "rows_repeated": repeated,
                "cpu_seconds_repeated": repeated * second.steady_cpu / max(1, second.steady_rows),
                "second_run_seconds": second.whole,
                "missing": written.missing(reference),
                "doubled": written.doubled(),
                "unreadable_files": written.unreadable,
            }
        )
    return found
