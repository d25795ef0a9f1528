"""The night: every corpus of the config in turn, whatever happens to the others; then what is built beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from operators.storage import Storage, check_lake_uri, explained, join, normalize
from pipelines.backfill import continue_all
from pipelines.embed import EmbedJob
from pipelines.maintenance import maintain
from pipelines.progress import Progress
from schemas.errors import EmbedlakeError, ExitCode, LakeError, described
from schemas.nightly import CorpusNight, Kept, Night, Nightly, NightlyCorpus, Upkeep, worst
from schemas.report import RunReport


class Watch(Protocol):
    """Who is told of the night."""

    def corpus(self, name: str) -> Progress:
        """A corpus begins; its run tells the returned progress."""
        ...

    def ended(self, outcome: CorpusNight) -> None:
        """A corpus has ended, one way or the other; once more when what is built beside it has failed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class NightJob:
    """All corpora of a config. `job` makes a corpus' job; what it raises is that corpus' failure."""

    config: Nightly
    job: Callable[[NightlyCorpus, Progress], EmbedJob]
    watch: Watch

    def run(self, only: tuple[str, ...] = ()) -> Night:
        """Run the corpora (those named in `only`, when any is) and put the report where the config says.

        Raises:
            EmbedlakeError: the lake's or the report's URI is none.
        """
        started = datetime.now(UTC)
        lake = check_lake_uri(self.config.lake)
        place = self.config.report and normalize(self.config.report)
        outcomes: list[CorpusNight] = []
        for corpus in self.config.corpora:
            if only and corpus.name not in only:
                continue
            stopped = outcomes and outcomes[-1].exit_code is ExitCode.INTERRUPTED
            outcomes.append(self._skip(corpus) if stopped else self._one(corpus))
            self.watch.ended(outcomes[-1])
        outcomes = self._go_on(outcomes)
        night = Night(
            lake=lake,
            started_at=started,
            finished_at=datetime.now(UTC),
            exit_code=worst(outcome.exit_code for outcome in outcomes),
            corpora=tuple(outcomes),
        )
        return self._put(night, place) if place else night

    def _one(self, corpus: NightlyCorpus) -> CorpusNight:
        report: RunReport | None = None
        try:
            job = self.job(corpus, self.watch.corpus(corpus.name))
            report = job.run()
            kept = keep(job, self.config.maintenance) if self.config.maintenance else None
            return CorpusNight(corpus=corpus.name, status="done", report=report, maintenance=kept)
        except (Exception, KeyboardInterrupt) as failure:
            code, error = _told(failure)
        return CorpusNight(corpus=corpus.name, status="failed", exit_code=code, error=error, report=report)

    def _go_on(self, outcomes: list[CorpusNight]) -> list[CorpusNight]:
        """What is being built beside the corpora goes on when all of them had their night: it may take days."""
        by_name = {corpus.name: corpus for corpus in self.config.corpora}
        done: list[CorpusNight] = []
        for night in outcomes:
            stopped = any(one.exit_code is ExitCode.INTERRUPTED for one in (*outcomes, *done))
            done.append(night if stopped or night.status != "done" else self._beside(night, by_name))
        return done

    def _beside(self, night: CorpusNight, by_name: dict[str, NightlyCorpus]) -> CorpusNight:
        corpus = by_name[night.corpus]
        try:
            job = self.job(corpus, self.watch.corpus(corpus.name))
            return night.model_copy(update={"backfills": continue_all(job, corpus.backfill_gpu_hours)})
        except (Exception, KeyboardInterrupt) as failure:
            code, error = _told(failure)
        failed = night.model_copy(update={"status": "failed", "exit_code": code, "error": error})
        self.watch.ended(failed)
        return failed

    def _skip(self, corpus: NightlyCorpus) -> CorpusNight:
        """Its code is that of the interruption: what did not run must not look well."""
        return CorpusNight(corpus=corpus.name, status="not run", exit_code=ExitCode.INTERRUPTED)

    def _put(self, night: Night, place: str) -> Night:
        uri = join(place, f"{night.started_at:%Y%m%dT%H%M%SZ}.json")
        try:
            with explained(uri, LakeError):
                Storage(self.config.storage).put(uri, night.model_dump_json(indent=1).encode())
        except LakeError as error:
            code = worst((night.exit_code, error.exit_code))
            return night.model_copy(update={"exit_code": code, "error": str(error)})
        return night


def _told(failure: BaseException) -> tuple[ExitCode, str]:
    """What a failure means for its corpus."""
    if isinstance(failure, KeyboardInterrupt):
        return ExitCode.INTERRUPTED, "interrupted; the same command continues the run"
    if isinstance(failure, EmbedlakeError):
        return failure.exit_code, str(failure)
    return ExitCode.FAILED, described(failure)


def keep(job: EmbedJob, upkeep: Upkeep) -> Kept:
    """Compact the job's corpus, bring its indices up to date, and remove what is old.

    Raises:
        EmbedlakeError: as `pipelines.maintenance.maintain`.
    """
    wait_s = job.policy.wait_minutes * 60
    done = maintain(job.lake, job.corpus, job.storage, days=upkeep.keep_days, wait_s=wait_s)
    return Kept(
        fragments_before=sum(table.fragments_before for table in done.tables),
        fragments=sum(table.fragments for table in done.tables),
        versions=done.collected.versions,
        bytes=done.collected.bytes,
    )
