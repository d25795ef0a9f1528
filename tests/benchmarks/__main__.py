"""`python -m tests.benchmarks`: the pipeline against the bound and a plain loop, in interleaved rounds.

Start-up is excluded everywhere: pool and model are ready before the bound's clock runs, and from the pipeline's
seconds those of the same job over 16 assets are taken (Ray Data's executor, actor start, model load, commit).
The bound is the best of three shapes, picked on a probe. The stages are timed one by one, on one thread.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from operators.model.registry import DEFAULT_MODEL, resolve
from pipelines.engine.cluster import cluster, cores
from tests.benchmarks.corpus import make_corpus
from tests.benchmarks.results import keep
from tests.benchmarks.ways import Timing, Work, bound, pipeline, plain_loop, stage_by_stage

START = 8
PROBE = 200
SHAPES = ((1, 1), (1, 2), (2, 1))
"""Readers beside the model, threads of the model: the bound is the best of these on this machine."""


def main() -> None:
    """Measure, print the table, write the JSON."""
    arguments = parse()
    spec = resolve(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        full = Work(make_corpus(home / "full", arguments.images, arguments.texts), spec)
        probe = Work(make_corpus(home / "probe", PROBE, PROBE), spec)
        start = Work(make_corpus(home / "start", START, START), spec)
        stages = stage_by_stage(probe, home / "stages")
        measured: dict[str, list[Timing]] = {}
        for threads in (1, cores()):
            measured[f"plain loop, {threads} threads ({PROBE} + {PROBE})"] = [plain_loop(probe, threads)]
        for shape in SHAPES:
            measured[f"{named(*shape)} ({PROBE} + {PROBE})"] = [bound(probe, *shape)]
        best = max(SHAPES, key=lambda shape: measured[f"{named(*shape)} ({PROBE} + {PROBE})"][0].rate)
        with cluster():
            pipeline(start, home / "lake-warm")
            for turn in range(arguments.rounds):
                measured.setdefault(named(*best), []).append(bound(full, *best))
                little = pipeline(start, home / f"lake-start-{turn}")
                whole = pipeline(full, home / f"lake-{turn}")
                measured.setdefault("pipeline", []).append(less(whole, little))
                measured.setdefault("pipeline, start included", []).append(whole)
    show(measured, stages, named(*best), arguments)


def named(readers: int, threads: int) -> str:
    """The bound's name in the table."""
    return f"bound: {readers} readers beside a model on {threads} threads"


def less(whole: Timing, start: Timing) -> Timing:
    """A timing without what the same job costs over next to nothing."""
    return Timing(whole.rows - start.rows, whole.seconds - start.seconds, whole.parts)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    return parser.parse_args()


def show(
    measured: dict[str, list[Timing]], stages: Timing, reference: str, arguments: argparse.Namespace
) -> None:
    """The table on stdout, and the same as JSON under `results/`."""
    medians = {name: statistics.median(t.rate for t in timings) for name, timings in measured.items()}
    best = medians[reference]
    table = Table("way", "rows/s", "spread", "of the bound", "ms/row", box=None)
    rows: list[dict[str, Any]] = []
    for name, timings in measured.items():
        rates = [t.rate for t in timings]
        rows.append(
            {
                "way": name,
                "rows": timings[0].rows,
                "rows_per_second": medians[name],
                "rates": rates,
                "of_bound": medians[name] / best,
                "parts": [t.parts for t in timings],
            }
        )
        spread = f"{min(rates):.1f}-{max(rates):.1f}"
        table.add_row(
            name, f"{medians[name]:.1f}", spread, f"{medians[name] / best:.2f}", f"{1000 / medians[name]:.2f}"
        )
    console = Console(width=110)
    console.print(
        f"{arguments.images} images + {arguments.texts} texts, {arguments.model}, {cores()} cores, "
        f"medians of {arguments.rounds} interleaved rounds"
    )
    console.print(table)
    per_row = {name: 1000 * seconds / stages.rows for name, seconds in stages.parts.items()}
    console.print("ms/row by stage: " + ", ".join(f"{name} {ms:.2f}" for name, ms in per_row.items()))
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": cores()}
    document = {"machine": machine, "arguments": vars(arguments), "ways": rows, "stages_ms": per_row}
    keep("pipeline", document)


if __name__ == "__main__":
    main()
