"""One run: its plan through the dataflow, reconciled, checked and published once."""

from __future__ import annotations

import io
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

from operators.lake.layout import Layout
from operators.prepared.store import Prepared
from operators.sources.listing import Listed
from operators.stage import StageRows
from operators.storage import explained
from pipelines.engine.cluster import cluster
from pipelines.engine.dataflow import Dataflow, Ran
from pipelines.forget import forgotten_mask
from pipelines.lease import Lease
from pipelines.ledger import Ledger
from pipelines.listing import combine
from pipelines.outcome import Outcome
from pipelines.plan import DIFFED, Plan
from pipelines.prepared import with_kept
from pipelines.reconcile import Attempts, Reconciled
from pipelines.runlog import LOGGER, run_log
from pipelines.shards import shards, with_staged
from schemas.errors import CoverageError, LakeError
from schemas.report import RunReport

if TYPE_CHECKING:
    from pipelines.embed import EmbedJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a job: its plan, on the versions that it is based on.

    `uncounted` and `failed_elsewhere` are as in `Outcome`. A run of a space `beside` the live one reads what is
    prepared for it.
    """

    job: EmbedJob
    lake: str
    ledger: Ledger
    plan: Plan
    before: pa.Table
    grants: dict[str, tuple[str, ...]]
    run_id: str
    clock: Clock
    uncounted: tuple[str, ...] = ()
    failed_elsewhere: pl.DataFrame | None = None
    beside: bool = False

    @classmethod
    def begin(cls, job: EmbedJob, lake: str, listed: list[Listed], clock: Clock) -> Run:
        """Open the corpus and plan the run of what its sources list."""
        listing = combine([one.table for one in listed])
        with explained(lake, LakeError):
            fields = _metadata_fields(listing)
            ledger = Ledger.begin(lake, job.corpus, job.space, fields, job.storage, keep=job.keep_prepared)
            assets = ledger.assets_table.open(ledger.state.assets_version).to_table(columns=list(DIFFED))
        plan = job.plan(lake, listed, listing, assets)
        grants = {one.source: one.roots for one in listed}
        run_id = plan.run_id(job.space.id, ledger.state.revision, grants)
        clock.lap("plan")
        return cls(
            job=job,
            lake=lake,
            ledger=ledger,
            plan=plan,
            before=assets,
            grants=grants,
            run_id=run_id,
            clock=clock,
        )

    def through(self, lease: Lease) -> RunReport:
        """Run the plan and publish what it came to."""
        job, plan = self.job, self.plan
        detail = (
            f"{plan.new} new, {plan.changed} changed, {plan.unchanged} unchanged, {len(plan.deleted)} deleted"
        )
        job.progress.phase("plan", detail)
        if plan.empty:
            return self._report(self._outcome(None), Ran(), 0, None)
        self._outcome(None).check_deletions(job.policy)
        # Ray takes seconds to end: what is published need not wait for it.
        with ExitStack() as cluster_held:
            ran, resumed = self._embed(lease, cluster_held)
            self.clock.lap("embed")
            job.progress.phase("publish")
            lease.check()
            with explained(self.lake, LakeError):
                return self._publish(ran, resumed, lease)

    def _embed(self, lease: Lease, held: ExitStack) -> tuple[Ran, int]:
        """Run what no earlier attempt has staged, on a cluster that is then `held`; also how many segments one had."""
        job, receipts = self.job, self.ledger.receipts(self.run_id)
        with explained(self.lake, LakeError):
            earlier = Attempts(receipts.read_all(), self.plan.work)
        resumed = earlier.staged().height
        work, staged = earlier.remaining(again=job.selection.only is not None)
        if not work.num_rows:
            return Ran(), resumed
        work, prepared = self._prepared(work)
        flow = Dataflow(
            read=job.reader(self.grants, prepared),
            space=self.ledger.stored(),
            stage=StageRows(
                table=self.ledger.space_table,
                receipts=receipts,
                schema=self.ledger.schema(),
                run_id=self.run_id,
                media=self.ledger.media.table if job.keep_prepared else None,
            ),
            config=job.config,
        )
        job.progress.phase("start", "Ray")
        log = self.ledger.log.layout.log(job.corpus, self.run_id)
        held.enter_context(cluster(job.ray_address))
        with run_log(job.storage, log):
            job.progress.phase("embed", f"run {self.run_id}, log {log}")
            LOGGER.info("run %s: %d assets, %d segments staged before", self.run_id, work.num_rows, resumed)
            cut = shards(with_staged(work, staged), job.config, flow.resources.shards)
            budget, wanted = job.policy.budget_gpu_hours, lease.wanted.is_set
            return flow.run(cut, work.num_rows, job.progress, budget, wanted), resumed

    def _prepared(self, work: pa.Table) -> tuple[pa.Table, Prepared | None]:
        """The work, and where the prepared media of a part of it are."""
        job, media = self.job, self.ledger.media
        if not self.beside or media.version is None:
            return work, None
        with explained(self.lake, LakeError):
            prepared = Prepared(media.table, media.version)
            return with_kept(work, prepared.open(), job.spec, job.recipe), prepared

    def _publish(self, ran: Ran, resumed: int, lease: Lease) -> RunReport:
        job, ledger, plan = self.job, self.ledger, self.plan
        attempts = Attempts(ledger.receipts(self.run_id).read_all(), plan.work)
        members = attempts.members()
        forgotten = members.filter(forgotten_mask(self.lake, job.corpus, members, job.storage))
        result = attempts.reconcile(ledger.space_table, ran.partial, forgotten, ledger.media)
        outcome = self._outcome(result)
        outcome.counts()
        if outcome.changes_nothing():
            return self._report(outcome, ran, resumed, None)
        self._check_coverage(outcome)
        outcome.check_deletions(job.policy)
        carried = ledger.carrier(self.run_id).carry(result.moved, outcome.carried)
        noted = ledger.noted(outcome.kept)
        tables = (outcome.final, carried.assets, noted)
        assets = pa.concat_tables([table.cast(carried.assets.schema) for table in tables])
        lease.check()
        replaced, fragments = outcome.replaced, [*result.fragments, *carried.fragments]
        media = ledger.media_changes(result.kept, result.kept_uris, replaced, assets, self.beside)
        uris = noted["uri"].to_pylist()
        change = ledger.commit(self.run_id, assets, fragments, replaced, uris, media)
        self.clock.lap("publish")
        report = self._report(outcome, ran, resumed, change.space_version)
        uri = Layout(self.lake).report(job.corpus, self.run_id)
        job.storage.put(uri, report.model_dump_json(indent=1).encode())
        lease.check()
        ledger.announce(change)
        return report

    def _outcome(self, result: Reconciled | None) -> Outcome:
        before = pl.DataFrame(pl.from_arrow(self.before))
        return Outcome(self.plan, result, before, self.uncounted, self.failed_elsewhere)

    def _check_coverage(self, outcome: Outcome) -> None:
        where = Layout(self.lake).quarantined(self.job.corpus, self.run_id)
        try:
            outcome.check_coverage(self.job.policy, where)
        except CoverageError:
            body = io.BytesIO()
            outcome.quarantined.write_parquet(body)
            self.job.storage.put(where, body.getvalue())
            raise

    def _report(self, outcome: Outcome, ran: Ran, resumed: int, version: int | None) -> RunReport:
        job = self.job
        return RunReport(
            run_id=self.run_id,
            corpus=job.corpus,
            lake=self.lake,
            space=job.space.id,
            model=job.spec.card.model_id,
            started_at=self.clock.started,
            finished_at=datetime.now(UTC),
            counts=outcome.counts(),
            quarantine_reasons=outcome.reasons,
            published_version=version,
            resumed_segments=resumed,
            coverage=outcome.coverage,
            budget_spent=ran.budget_spent,
            actors=ran.actors,
            actor_seconds=ran.actor_seconds,
            seconds=self.clock.laps,
            log="" if version is None else Layout(self.lake).log(job.corpus, self.run_id),
        )


def _metadata_fields(listing: pa.Table) -> list[pa.Field]:
    if "metadata" not in listing.column_names:
        return []
    return list(listing.schema.field("metadata").type)


class Clock:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """The phase of this name ends."""
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
