"""`python -m tests.benchmarks.migration`: search at half of a migration from the composed to the fused model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from operators.model.registry import BASELINE_MODEL, FUSED_MODEL, resolve
from pipelines.evaluation.migration import FULL, FUSION, MERGED, OLD, SEEDS, MigrationReport, migrate
from tests.benchmarks.results import keep

LEAST_KEPT = 0.9


def main() -> None:
    """Measure, print the table, write the JSON; the exit status says whether calibration keeps what it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(".data"))
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--threads", type=int)
    given = parser.parse_args()
    report = migrate(
        resolve(BASELINE_MODEL),
        resolve(FUSED_MODEL),
        given.data,
        given.sets,
        share=given.share,
        seeds=given.seeds,
        threads=given.threads,
        watch=lambda name: print(name, file=sys.stderr),
    )
    show(report)
    keep("migration", report.model_dump(mode="json"))
    means = report.means
    good = report.kept[MERGED] >= LEAST_KEPT and means[MERGED] > max(means[FUSION], means[OLD])
    sys.exit(0 if good else 1)


def show(report: MigrationReport) -> None:
    """A line for each way, a column for each set."""
    tasks = list(dict.fromkeys(line.task for line in report.lines))
    table = Table(
        "nDCG@10", *tasks, "mean", "kept", title=f"{report.share:.0%} moved, {report.old} to {report.new}"
    )
    cells = {(line.way, line.task): f"{line.ndcg_at_10:.3f}" for line in report.lines}
    for way, mean in report.means.items():
        kept = "" if way == FULL else f"{report.kept[way]:.3f}"
        table.add_row(way, *(cells[way, task] for task in tasks), f"{mean:.3f}", kept)
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
