"""A model upgrade: a new space beside the live one, in batches that run for days beside the nights.

Each batch is a run like a night's: the same plan, dataflow, receipts and ledger, with the live space's assets as its
listing. The corpus is held for one batch at a time, and given up at once when another writer asks.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from operators.model.registry import resolve
from operators.storage import check_lake_uri, explained
from pipelines.beside import Beside
from pipelines.embed import EmbedJob
from pipelines.engine.cluster import cluster
from pipelines.lease import Lease, held
from pipelines.ledger import Ledger
from pipelines.plan import DIFFED
from pipelines.reader import LakeReader
from pipelines.run import Clock, Run
from pipelines.spaces import coverage
from schemas.corpus import Backfill, Corpus
from schemas.errors import ConflictError, ErrorCode, LakeError, ModelError, UsageError
from schemas.report import BackfillReport, RunReport

BATCH_ASSETS = 10_000
_AFTER_YOU_S = 4.0
_PATIENCE_S = 86_400.0
_STALE = (str(ErrorCode.CHANGED),)
"""The object is newer than the live space: the next night embeds it in both."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillJob:
    """Bring a space beside the live one to where the live one is.

    `job` is how its batches run; its spec and recipe make the space, and it has no sources. A budget of its policy is
    for all batches together.
    """

    job: EmbedJob
    backfill: Backfill
    batch_assets: int = BATCH_ASSETS

    def run(self) -> BackfillReport:
        """Embed until nothing is left, or the budget is spent; a process that died is continued by running it again.

        Raises:
            EmbedlakeError: what was published by then stays.
        """
        lake = check_lake_uri(self.job.lake)
        with ExitStack() as stack:
            return _Process(self, lake, stack).run()


@dataclass(slots=True)
class _Process:
    """The batches of one process."""

    work: BackfillJob
    lake: str
    stack: ExitStack
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    reports: list[RunReport] = field(default_factory=list)
    gave_way: int = 0
    ray: bool = False

    def run(self) -> BackfillReport:
        retry = complete = False
        while not complete and not self._spent():
            with self._turn() as lease:
                run = self._plan(retry)
                if run is None or run.plan.empty:
                    complete, retry = run is None or retry, True
                    continue
                if run.plan.work.num_rows and not self.ray:
                    self.stack.enter_context(cluster(self.work.job.ray_address))
                    self.ray = True
                self.reports.append(run.through(lease))
                complete = retry and not lease.wanted.is_set() and not self.reports[-1].budget_spent
        return self._report(complete)

    @contextmanager
    def _turn(self) -> Iterator[Lease]:
        """Hold the corpus for a batch; whoever asked for it meanwhile goes first."""
        job = self.work.job
        patience = _PATIENCE_S if self.reports else job.policy.wait_minutes * 60
        with held(self.lake, job.corpus, job.storage, "a backfill", patience, gives_way=True) as lease:
            yield lease
        if lease.wanted.is_set():
            self.gave_way += 1
            time.sleep(_AFTER_YOU_S)

    def _plan(self, retry: bool) -> Run | None:
        """The next batch; None when the space has become the live one."""
        job, backfill, clock = self.work.job, self.work.backfill, Clock()
        reader = LakeReader.open(self.lake, job.storage)
        _, corpus = reader.corpus(job.corpus)
        if self.reports and not self._goes_on(corpus):
            return None
        with explained(self.lake, LakeError):
            beside = Beside.of(reader, job.corpus, backfill)
            ledger = Ledger.begin(
                self.lake, job.corpus, job.space, beside.fields, job.storage, backfill, job.keep_prepared
            )
            assets = ledger.assets_table.open(ledger.state.assets_version).to_table(columns=list(DIFFED))
        plan = beside.plan(assets, None if retry else self.work.batch_assets, retry)
        clock.lap("plan")
        return Run(
            job=self._budgeted(),
            lake=self.lake,
            ledger=ledger,
            plan=plan,
            before=assets,
            grants=beside.grants,
            run_id=_run_id(ledger, beside.grants),
            clock=clock,
            uncounted=_STALE,
            failed_elsewhere=beside.failed,
            beside=True,
        )

    def _goes_on(self, corpus: Corpus) -> bool:
        space = self.work.job.space.id
        if space not in corpus.spaces:
            raise ConflictError(f"space {space} was dropped while it was being built")
        return corpus.live != space

    def _budgeted(self) -> EmbedJob:
        """The job of one batch. What the live space has lost was checked when it lost it."""
        job = self.work.job
        budget = job.policy.budget_gpu_hours
        left = None if budget is None else max(1e-9, budget - self._actor_seconds() / 3600)
        policy = job.policy.model_copy(update={"max_deleted": 1.0, "budget_gpu_hours": left})
        return replace(job, policy=policy)

    def _actor_seconds(self) -> float:
        return sum(one.actors * one.seconds.get("embed", 0.0) for one in self.reports)

    def _spent(self) -> bool:
        return any(report.budget_spent for report in self.reports)

    def _report(self, complete: bool) -> BackfillReport:
        job = self.work.job
        reader = LakeReader.open(self.lake, job.storage)
        covered = coverage(reader, job.corpus, job.space.id)
        names = ("embedded", "moved", "updated", "quarantined", "deleted", "segments", "tokens")
        return BackfillReport(
            corpus=job.corpus,
            lake=self.lake,
            space=job.space.id,
            model=job.spec.card.model_id,
            started_at=self.started,
            finished_at=datetime.now(UTC),
            batches=sum(one.published_version is not None for one in self.reports),
            gave_way=self.gave_way,
            **{name: sum(getattr(one.counts, name) for one in self.reports) for name in names},
            actor_seconds=round(self._actor_seconds(), 3),
            coverage=covered.share,
            left=covered.assets - covered.held,
            complete=complete,
        )


def _run_id(ledger: Ledger, grants: dict[str, tuple[str, ...]]) -> str:
    """One id for all attempts at the next batch: nights that come between change what is planned, not what is staged.

    Receipts count only for the rows that are planned, so an id without the plan loses and doubles nothing.
    """
    basis = f"backfill\n{ledger.space.id}\n{ledger.state.revision}\n{json.dumps(grants, sort_keys=True)}"
    return hashlib.sha256(basis.encode()).hexdigest()[:16]


def reference(model: str) -> str:
    """A model's name as any process of this machine finds it again."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def continued(job: EmbedJob, reader: LakeReader, space: str) -> BackfillJob:
    """The backfill of a space that the catalog has, run as `job` is.

    Raises:
        ModelError: its model cannot be found, or makes another space by now.
        UsageError: nothing is being built there.
    """
    state = reader.catalog.corpora[job.corpus].spaces.get(space)
    if state is None or state.backfill is None:
        raise UsageError(f"corpus '{job.corpus}' is not being backfilled into '{space}': name a --model")
    made = reader.space(job.corpus, space)
    spec = resolve(state.backfill.model)
    again = replace(job, sources=(), spec=spec, recipe=made.recipe, vector_type=made.vector_type)
    if again.space.id != space:
        raise ModelError(
            f"'{state.backfill.model}' makes {again.space.id} now, and space {space} of corpus '{job.corpus}' was "
            f"begun with another version of it: drop that space, or bring the model's files back"
        )
    return BackfillJob(job=again, backfill=state.backfill)


def begun(
    job: EmbedJob, model: str, reader: LakeReader, given: dict[str, str | tuple[str, ...]]
) -> BackfillJob:
    """A backfill by the job's model and recipe: a new one, or the one that the catalog has with other settings.

    Args:
        job: how it runs.
        model: the model as a person named it.
        reader: of the lake.
        given: settings of `Backfill` that a person named; others stay as they were.
    """
    state = reader.catalog.corpora[job.corpus].spaces.get(job.space.id)
    earlier = state.backfill if state is not None else None
    settings = {} if earlier is None else earlier.model_dump(exclude={"model"})
    return BackfillJob(job=job, backfill=Backfill(model=reference(model), **{**settings, **given}))


def continue_all(job: EmbedJob, gpu_hours: float | None) -> tuple[BackfillReport, ...]:
    """Go on with every backfill of a job's corpus, unless another process is at it.

    Args:
        job: how they run.
        gpu_hours: actor-hours for each of them, as many as it takes when None.

    Raises:
        EmbedlakeError: one cannot go on; what was published by then stays.
    """
    reader = LakeReader.open(job.lake, job.storage)
    policy = job.policy.model_copy(update={"budget_gpu_hours": gpu_hours, "wait_minutes": 0})
    done = []
    for space in under_way(reader.catalog.corpora[job.corpus]):
        job.progress.phase("backfill", space)
        with suppress(ConflictError):
            done.append(continued(replace(job, policy=policy), reader, space).run())
    return tuple(done)


def under_way(corpus: Corpus) -> list[str]:
    """The spaces of a corpus that are being built."""
    return [name for name, state in corpus.spaces.items() if state.backfill and name != corpus.live]
