"""Indices, and what a search takes, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from jobs.plain import plain

if TYPE_CHECKING:
    from pipelines.finding import Stage
    from pipelines.index import Indexing

_KB = 1e3


def say(step: str) -> None:
    """What is being done now, beside the command's answer."""
    Console(stderr=True, highlight=False).print(f"{plain(step)} ...", soft_wrap=True)


def show_indexing(done: Indexing, as_json: bool) -> None:
    """What a space is searched by now."""
    if as_json:
        return print(done.model_dump_json())
    console = Console(highlight=False)
    columns = ", ".join(map(plain, done.columns)) or "none"
    console.print(f"space {plain(done.space)}, {done.rows:,} rows; indexed: {columns}", soft_wrap=True)
    finder = done.finder
    if finder is None:
        console.print("no index over vectors: a search compares every row", soft_wrap=True)
        return None
    console.print(
        f"a search looks in {finder.kind} of width {finder.width}, {finder.probes} of {finder.partitions} "
        f"partitions, and ranks {finder.candidates} rows for each hit by the full width: "
        f"recall@{finder.k} {finder.recall:.3f} over {finder.queries} rows as queries",
        soft_wrap=True,
    )
    return None


def show_stages(stages: Sequence[Stage]) -> None:
    """A line for each read of a search, beside its hits."""
    table = Table(box=None, header_style="bold")
    for name in ("stage", "over", "rows", "KB read", "ms"):
        table.add_column(name, justify="left" if name in ("stage", "over") else "right")
    for one in stages:
        read = f"{one.bytes_read / _KB:,.1f}"
        table.add_row(one.stage, plain(one.over), f"{one.rows:,}", read, f"{one.ms:,.1f}")
    Console(highlight=False).print(table)
