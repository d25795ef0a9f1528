"""An evaluation for people: retrieval with intervals, what widths keep, what was asked for, speed."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from pipelines.evaluation.report import Evaluation, Line

_COLUMNS = ("set", "queries/gallery", "chance", "system", "R@1", "R@10", "nDCG@10", "MRR@10")


_WIDE = 140
"""Columns where nobody watches: a table in a file or a log is not cut."""


def show(report: Evaluation) -> None:
    """Print the whole of it."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = max(console.width, _WIDE)
    console.print(_retrieval(report), soft_wrap=False)
    kept = ", ".join(f"{width}: {share:.3f}" for width, share in report.kept.items())
    console.print(
        f"\nR@10 with its 95 % interval; chance is the R@10 of a random order; seed {report.seed},"
        f" {report.threads} threads\nmean nDCG@10 kept by width   {kept}"
    )
    for bar in report.bars:
        mark = "[green]met[/green]    " if bar.met else "[red]not met[/red]"
        console.print(f"{mark} {bar.what}: {bar.value:.3f} (asked for {bar.least:g})")
    for s in report.speed:
        stock = "" if s.stock is None else f", stock {s.stock:.1f} ({s.ours / s.stock:.2f} times)"
        console.print(f"speed   {s.what}: {s.ours:.1f} {s.unit}{stock}; {s.note}")


def _retrieval(report: Evaluation) -> Table:
    table = Table(box=None, header_style="bold")
    for name in _COLUMNS:
        table.add_column(name, justify="left" if name in ("set", "system") else "right", no_wrap=True)
    before = ""
    for line in report.lines:
        if line.system == report.model and line.width != max(report.kept):
            continue
        head = (line.task, f"{line.queries}/{line.gallery}", f"{line.chance:.3f}")
        style = "bold" if line.system == report.model else ""
        table.add_row(*(head if line.task != before else ("",) * 3), *_scores(line), style=style)
        before = line.task
    return table


def _scores(line: Line) -> tuple[str, ...]:
    recall = line.scores["R@10"]
    return (
        line.system,
        f"{line.mean('R@1'):.3f}",
        f"{recall.mean:.3f} [{recall.low:.3f}, {recall.high:.3f}]",
        f"{line.mean('nDCG@10'):.3f}",
        f"{line.mean('MRR@10'):.3f}",
    )
