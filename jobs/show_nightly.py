"""What a night says: time-stamped lines on stderr for cron's log, a live display on a terminal, JSON for machines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from rich.console import Console

from jobs.aside import stderr_aside
from jobs.display import Live
from jobs.plain import plain
from schemas.errors import ExitCode
from schemas.nightly import CorpusNight, Night

if TYPE_CHECKING:
    from pipelines.nightly import Watch
    from pipelines.progress import Progress, Snapshot

_LINE_SECONDS = 60.0


@contextmanager
def open_log() -> Iterator[Watch]:
    """Lines for a log; on a terminal also the live display of the corpus that runs."""
    with stderr_aside() as screen:
        console = Console(file=screen)
        if not console.is_terminal:
            yield Log(screen, None)
            return
        live = Live(console)
        with live.progress:
            yield Log(screen, live)


class Log:
    """Time-stamped lines."""

    def __init__(self, screen: TextIO, live: Live | None) -> None:
        self._screen = screen
        self._live = live

    def corpus(self, name: str) -> Progress:
        """A corpus begins."""
        self.say(name, "begins")
        return self._live or _Stamped(self, name)

    def ended(self, outcome: CorpusNight) -> None:
        """A corpus has ended."""
        self.say(outcome.corpus, _sentence(outcome))

    def say(self, who: str, what: str) -> None:
        """One line: UTC time, corpus, text."""
        line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {who}: {plain(what)}"
        if self._live:
            self._live.progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print(line, file=self._screen, flush=True)


class _Stamped:
    """A run's progress as lines of the log, at most one a minute between the phases."""

    watches = True

    def __init__(self, log: Log, name: str) -> None:
        self._log, self._name, self._last = log, name, time.monotonic()

    def phase(self, name: str, detail: str = "") -> None:
        self._log.say(self._name, f"{name} {detail}".rstrip())

    def update(self, snapshot: Snapshot) -> None:
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            s = snapshot
            progress = f"{s.assets_done} of {s.assets} assets read, {s.embedded} segments embedded"
            self._log.say(self._name, f"{progress}, {s.failed} quarantined")


def _sentence(outcome: CorpusNight) -> str:
    if outcome.report is None:
        return f"{outcome.status}, exit code {outcome.exit_code}: {outcome.error or 'the night was stopped before it'}"
    report, c = outcome.report, outcome.report.counts
    seconds = sum(report.seconds.values())
    counts = (
        f"{c.embedded} embedded, {c.quarantined} quarantined, {c.unchanged} unchanged, {c.deleted} deleted"
    )
    version = report.published_version
    published = "nothing to publish" if version is None else f"published version {version}"
    failed = "" if outcome.error is None else f"; then failed, exit code {outcome.exit_code}: {outcome.error}"
    return f"{published}: {counts}, in {seconds:.0f} s{failed}"


def show_night(night: Night, as_json: bool) -> None:
    """A night's end, as one JSON document or as one line."""
    if as_json:
        print(night.model_dump_json())
        return
    bad = [one.corpus for one in night.corpora if one.exit_code is not ExitCode.OK]
    minutes = (night.finished_at - night.started_at).total_seconds() / 60
    print(
        f"{len(night.corpora) - len(bad)} of {len(night.corpora)} corpora of {plain(night.lake)} are up to date "
        f"after {minutes:.1f} min" + (f"; not: {', '.join(bad)}" if bad else "")
    )
    if night.error:
        print(f"the report was not kept: {plain(night.error)}")
