"""What people see: one live display on a terminal, plain lines elsewhere, JSON for machines."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import TimeRemainingColumn as Eta
from rich.table import Table
from rich.text import Text

from jobs.aside import stderr_aside
from jobs.plain import plain
from jobs.show_index import show_stages
from pipelines.progress import Silent, Snapshot

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.finding import Stage
    from pipelines.progress import Progress as Watcher
    from pipelines.query import Hit
    from pipelines.status import LakeStatus
    from schemas.report import Counts, RunReport

_LINE_SECONDS = 5.0
_CELL = 60


@contextmanager
def open_display(quiet: bool) -> Iterator[Watcher]:
    """The display that fits: nothing when quiet, a live one on a terminal, a line now and then elsewhere."""
    with stderr_aside() as screen:
        console = Console(file=screen)
        if quiet:
            yield Silent()
        elif console.is_terminal:
            live = Live(console)
            with live.progress:
                yield live
        else:
            yield Lines(screen)


class Live:
    """Stages, rates, queue, errors and ETA in one live block."""

    watches = True

    def __init__(self, console: Console) -> None:
        self.progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description:<9}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            Eta(),
            console=console,
            redirect_stderr=False,
        )
        self._tasks = {
            name: self.progress.add_task(name, total=None, note="", visible=False)
            for name in ("read", "embed", "stage")
        }
        self._started = 0.0

    def phase(self, name: str, detail: str = "") -> None:
        """Print the phase above the bars; `embed` shows them."""
        self._started = time.monotonic()
        self.progress.console.print(Text.assemble((f"{name:<8}", "bold"), " ", plain(detail)))
        for task in self._tasks.values():
            self.progress.update(task, visible=name == "embed")

    def update(self, snapshot: Snapshot) -> None:
        """Move the bars; segments are extrapolated from the assets read so far."""
        seconds = max(time.monotonic() - self._started, 1e-3)
        whole = snapshot.assets_done >= snapshot.assets
        done = max(snapshot.assets_done, 1)
        segments = snapshot.prepared if whole else round(snapshot.prepared * snapshot.assets / done)
        bad = f", [red]{snapshot.failed} quarantined[/red]" if snapshot.failed else ""
        notes = {
            "read": (
                snapshot.assets_done,
                snapshot.assets,
                f"{snapshot.assets_done / seconds:.1f} assets/s{bad}",
            ),
            "embed": (
                snapshot.embedded,
                segments,
                f"{snapshot.embedded / seconds:.1f} segments/s, {snapshot.queued} queued",
            ),
            "stage": (snapshot.staged, segments, "segments"),
        }
        for name, (completed, total, note) in notes.items():
            self.progress.update(self._tasks[name], completed=completed, total=max(total, 1), note=note)


class Lines:
    """Plain lines, at most one every few seconds, for logs and pipes."""

    watches = True

    def __init__(self, screen: TextIO) -> None:
        self._screen = screen
        self._last = 0.0

    def phase(self, name: str, detail: str = "") -> None:
        """One line for each phase."""
        print(f"{name}: {plain(detail)}" if detail else name, file=self._screen, flush=True)

    def update(self, snapshot: Snapshot) -> None:
        """One line now and then."""
        if time.monotonic() - self._last < _LINE_SECONDS:
            return
        self._last = time.monotonic()
        s = snapshot
        print(
            f"assets {s.assets_done}/{s.assets}  prepared {s.prepared}  embedded {s.embedded}  staged {s.staged}  "
            f"queued {s.queued}  quarantined {s.failed}",
            file=self._screen,
            flush=True,
        )


def show_report(report: RunReport, as_json: bool) -> None:
    """A run's end, as one JSON document or as a table."""
    if as_json:
        flat = report.model_dump(mode="json", exclude={"counts"})
        return _print_json({**flat, **report.counts.model_dump()})
    c = report.counts
    console = Console(highlight=False)
    if report.published_version is not None:
        version = f"published version {report.published_version} of "
        where = Text.assemble(version, (report.corpus, "bold"), " in ", plain(report.lake))
        console.print(where, soft_wrap=True)
        listed = f"{c.listed} listed" + (f" + {c.members} in archives" if c.members else "")
        console.print(
            f"{listed} = {_sum(c)}   ({c.new} new, {c.changed} changed, {c.deleted} deleted)\n"
            f"{c.segments} segments, {c.tokens} tokens, space {report.space}, run {report.run_id}"
        )
        if report.budget_spent or c.deferred:
            console.print(f"{c.deferred} assets are left to the next run of the same command")
    elif c.quarantined:
        console.print(
            f"nothing new: {c.quarantined} assets quarantined again, {c.unchanged} unchanged, nothing published"
        )
    else:
        console.print(f"nothing to do: {c.unchanged} assets unchanged, nothing published")
    for code, count in report.quarantine_reasons.items():
        console.print(f"  quarantined: {count} x {code}")
    return None


def _sum(counts: Counts) -> str:
    """What the listed assets add up to; the usual kinds always, the others where there are some."""
    always = ("embedded", "quarantined", "unchanged")
    kinds = (*always, "expanded", "moved", "updated", "deferred", "excluded")
    return " + ".join(f"{getattr(counts, k)} {k}" for k in kinds if k in always or getattr(counts, k))


def show_hits(hits: list[Hit], as_json: bool, stages: Sequence[Stage] | None = None) -> None:
    """A search's hits, best first, and what it took where that was asked."""
    if as_json:
        shown = [{"score": h.score, **_fused(h), "where": h.where, "space": h.space, **h.row} for h in hits]
        told = {} if stages is None else {"stages": [asdict(stage) for stage in stages]}
        return _print_json({"hits": shown, **told})
    table = Table(box=None, header_style="bold")
    for name in ("score", "modality", "asset", "where", "text"):
        table.add_column(name, justify="right" if name == "score" else "left", overflow="fold")
    for hit in hits:
        text = " ".join((hit.text or "").split())
        table.add_row(f"{hit.score:.3f}", hit.modality, _cell(hit.uri), hit.where, _cell(_short(text)))
    Console().print(table)
    if stages is not None:
        show_stages(stages)
    return None


def _fused(hit: Hit) -> dict[str, float]:
    return {} if hit.fused is None else {"fused": hit.fused}


def show_table(result: pa.Table, as_json: bool) -> None:
    """An SQL result."""
    if as_json:
        return _print_json({"columns": result.column_names, "rows": result.to_pylist()})
    table = Table(box=None, header_style="bold")
    for name in result.column_names:
        table.add_column(_cell(name), overflow="fold")
    for row in result.to_pylist():
        table.add_row(*(_cell(_short(_value(value))) for value in row.values()))
    Console().print(table)
    return None


def show_status(status: LakeStatus, as_json: bool) -> None:
    """What a lake holds."""
    if as_json:
        return print(status.model_dump_json())
    console = Console()
    console.print(
        Text(f"lake {plain(status.lake)}, catalog entry {status.catalog_entry}"),
        soft_wrap=True,
        highlight=False,
    )
    table = Table(box=None, header_style="bold")
    for name in ("corpus", "version", "assets", "quarantined", "segments", "by modality", "space", "widths"):
        table.add_column(name, overflow="fold")
    for c in status.corpora:
        kinds = ", ".join(f"{n} {kind}" for kind, n in c.segments_by_modality.items())
        shown = (c.corpus, c.version, c.assets, c.quarantined, c.segments, kinds, c.space, c.widths)
        table.add_row(*(_cell(", ".join(map(str, v)) if isinstance(v, tuple) else str(v)) for v in shown))
    console.print(table)
    for c in status.corpora:
        for s in (one for one in c.spaces if not one.live):
            state = "is being built" if s.building else "is beside the live one"
            line = f"{plain(c.corpus)}: space {plain(s.space)} {state}, {s.coverage:.1%} of the live assets"
            console.print(Text(line), soft_wrap=True)
    return None


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(finite(document), default=str, allow_nan=False))


def finite(value: Any) -> Any:
    """The value as JSON can hold it: what is not a number is null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, list | tuple) else value


def _cell(text: str) -> Text:
    return Text(plain(text))


def _value(value: Any) -> str:
    if isinstance(value, list) and len(value) > 8:
        return f"[{', '.join(f'{v:.4g}' if isinstance(v, float) else str(v) for v in value[:4])}, ... {len(value)}]"
    return "" if value is None else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _CELL else text[: _CELL - 1] + "…"
