"""A training run for people: one line that moves on a terminal, lines elsewhere, and what came of it."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console
from rich.status import Status
from rich.table import Table
from rich.text import Text

from jobs.plain import plain
from pipelines.training.record import RunRecord

_LINE_SECONDS = 5.0
_LAST = 20
"""Steps whose mean loss is shown."""


class Watch:
    """Told what the run does; called from within it."""

    def __init__(self, screen: TextIO, quiet: bool) -> None:
        console = Console(file=screen)
        self._screen = None if quiet else screen
        self._status = Status("", console=console) if console.is_terminal and not quiet else None
        self._phase, self._last = "", 0.0

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, doing: str) -> None:
        """Show what is being done; lines of one phase come at most one every few seconds."""
        if self._status is not None:
            self._status.update(Text(plain(doing)))
        elif self._screen is not None:
            phase = doing.partition(":")[0]
            if phase != self._phase or time.monotonic() - self._last >= _LINE_SECONDS:
                self._phase, self._last = phase, time.monotonic()
                print(plain(doing), file=self._screen, flush=True)


def show(record: RunRecord, folder: Path, as_json: bool) -> None:
    """Stages with their last losses, the soup, and validation scores of every checkpoint beside it."""
    if as_json:
        print(record.model_dump_json())
        return
    console = Console(highlight=False)
    for stage in record.stages:
        last = stage.losses[-_LAST:]
        mean = f"{sum(last) / len(last):.3f}" if last else "none"
        console.print(f"{stage.name}: {len(stage.losses)} steps in {stage.seconds:.0f} s, loss {mean}")
    if record.scores:
        table = Table(box=None, header_style="bold")
        columns = sorted({name for scores in record.scores.values() for name in scores})
        for name in ("validation", "soup weight", *columns):
            table.add_column(name, justify="left" if name == "validation" else "right")
        for name, scores in record.scores.items():
            weight = f"{record.soup[name]:g}" if name in record.soup else ""
            table.add_row(name, weight, *(f"{scores[c]:.3f}" if c in scores else "" for c in columns))
        console.print(table)
    console.print(f"the model is '{folder}': embedlake evaluate --model {folder}", soft_wrap=True)
