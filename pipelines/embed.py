"""The main job: list, diff, plan, run the dataflow, publish once, and count every asset."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from operators.lake.layout import Layout
from operators.model.contract import ModelSpec
from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from operators.sources.listing import list_source
from operators.stage import StageRows
from operators.storage import Storage, check_lake_uri, explained
from pipelines.engine import Dataflow, cluster
from pipelines.ledger import Ledger
from pipelines.plan import Plan, combine, diff, shards, with_staged
from pipelines.progress import Progress, Silent
from pipelines.reconcile import Attempts, Reconciled
from pipelines.runlog import LOGGER, run_log
from schemas.catalog import check_corpus_name
from schemas.config import RunConfig
from schemas.errors import LakeError
from schemas.recipe import Recipe
from schemas.report import Counts, RunReport
from schemas.space import Space, VectorType
from schemas.tables import ASSETS, EMBEDDED, QUARANTINED


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedJob:
    """Bring one corpus of a lake up to date with its sources."""

    sources: tuple[str, ...]
    lake: str
    spec: ModelSpec
    corpus: str = "corpus"
    recipe: Recipe = Recipe()
    vector_type: VectorType = "float32"
    allow: tuple[str, ...] = ()
    storage: Storage = Storage()
    config: RunConfig = RunConfig()
    ray_address: str | None = None
    progress: Progress = field(default_factory=Silent)

    def run(self) -> RunReport:
        """List, diff, embed what is new or changed, publish one version.

        Running it again on the same sources embeds nothing and publishes nothing; a run that died is
        continued by running it again.

        Raises:
            EmbedlakeError: see the classes in `schemas.errors`; nothing was published.
        """
        clock = _Clock()
        check_corpus_name(self.corpus)
        lake = check_lake_uri(self.lake)
        space = Space(card=self.spec.card, recipe=self.recipe, vector_type=self.vector_type)
        self.progress.phase("list", ", ".join(self.sources))
        listed = [list_source(source, self.storage, self.allow, lake) for source in self.sources]
        listing = combine([one.table for one in listed])
        clock.lap("list")
        with explained(lake, LakeError):
            ledger = Ledger.begin(lake, self.corpus, space, _metadata_fields(listing), self.storage)
        assets = ledger.assets_table.open(ledger.entry.assets_version).to_table(columns=_DIFFED)
        plan = diff(listing, assets, [one.source for one in listed])
        grants = {one.source: one.roots for one in listed}
        run_id = plan.run_id(space.id, ledger.space_version, ledger.entry.assets_version, grants)
        clock.lap("plan")
        self.progress.phase("plan", f"{plan.new} new, {plan.changed} changed, {plan.unchanged} unchanged")
        if plan.empty:
            return self._report(clock, lake, run_id, space, _count(plan, None), None, 0)
        resumed = self._dataflow(ledger, plan, run_id, space, grants)
        clock.lap("embed")
        self.progress.phase("publish")
        with explained(lake, LakeError):
            result = Attempts(ledger.receipts(run_id).read_all()).reconcile(plan.work, ledger.space_table)
            counted = _count(plan, result)
            if not plan.deleted and _same(result, assets):
                return self._report(clock, lake, run_id, space, counted, None, resumed)
            change = ledger.commit(run_id, result, [*plan.known, *plan.deleted])
            clock.lap("publish")
            report = self._report(clock, lake, run_id, space, counted, change.space_version, resumed)
            body = report.model_dump_json(indent=1).encode()
            self.storage.put(Layout(lake).report(self.corpus, run_id), body)
            ledger.announce(change)
        return report

    def _dataflow(
        self, ledger: Ledger, plan: Plan, run_id: str, space: Space, grants: dict[str, tuple[str, ...]]
    ) -> int:
        receipts = ledger.receipts(run_id)
        earlier = Attempts(receipts.read_all())
        resumed = earlier.staged().height
        work, staged = earlier.remaining(plan.work)
        if not work.num_rows:
            return resumed
        fetcher = Fetcher(storage=self.storage, grants=grants, max_bytes=self.recipe.max_asset_bytes)
        flow = Dataflow(
            read=ReadAssets(fetcher=fetcher, spec=self.spec, recipe=self.recipe),
            space=space,
            stage=StageRows(
                table=ledger.space_table, receipts=receipts, schema=ledger.schema(), run_id=run_id
            ),
            config=self.config,
        )
        self.progress.phase("start", "Ray")
        log = ledger.log.layout.log(self.corpus, run_id)
        with cluster(self.ray_address), run_log(self.storage, log):
            self.progress.phase("embed", f"run {run_id}, log {log}")
            LOGGER.info(
                "run %s: %d assets to embed, %d segments staged before", run_id, work.num_rows, resumed
            )
            flow.run(shards(with_staged(work, staged), self.config), work.num_rows, self.progress)
        return resumed

    def _report(
        self,
        clock: _Clock,
        lake: str,
        run_id: str,
        space: Space,
        counted: tuple[Counts, dict[str, int]],
        version: int | None,
        resumed: int,
    ) -> RunReport:
        counts, reasons = counted
        return RunReport(
            run_id=run_id,
            corpus=self.corpus,
            lake=lake,
            space=space.id,
            model=space.card.model_id,
            started_at=clock.started,
            finished_at=datetime.now(UTC),
            counts=counts,
            quarantine_reasons=reasons,
            published_version=version,
            resumed_segments=resumed,
            seconds=clock.laps,
            log="" if version is None else Layout(lake).log(self.corpus, run_id),
        )


_DIFFED = ["uri", "source", "size", "etag", "status", "error_code"]


def _same(result: Reconciled, assets: pa.Table) -> bool:
    """Whether the run only found again what the corpus says already, such as an object that nobody may read."""
    found = pl.DataFrame(pl.from_arrow(result.assets))
    if found.filter(pl.col("status") == EMBEDDED).height:
        return False
    old = pl.DataFrame(pl.from_arrow(assets))
    columns = ["uri", "size", "etag", "status", "error_code"]
    return found.join(old, on=columns, how="anti", nulls_equal=True).is_empty()


def _metadata_fields(listing: pa.Table) -> list[pa.Field]:
    if "metadata" not in listing.column_names:
        return []
    return list(listing.schema.field("metadata").type)


def _count(plan: Plan, result: Reconciled | None) -> tuple[Counts, dict[str, int]]:
    assets = pl.DataFrame(pl.from_arrow(result.assets if result else ASSETS.empty_table()))
    embedded = assets.filter(pl.col("status") == EMBEDDED)
    quarantined = assets.filter(pl.col("status") == QUARANTINED)
    if plan.listed != plan.unchanged + embedded.height + quarantined.height:
        raise LakeError(
            f"assets do not add up: {plan.listed} listed, {embedded.height} embedded, "
            f"{quarantined.height} quarantined, {plan.unchanged} unchanged"
        )
    reasons = quarantined.group_by("error_code").len().sort("error_code")
    counts = Counts(
        listed=plan.listed,
        new=plan.new,
        changed=plan.changed,
        unchanged=plan.unchanged,
        deleted=len(plan.deleted),
        embedded=embedded.height,
        quarantined=quarantined.height,
        segments=int(embedded["segments"].sum()),
        tokens=int(embedded["tokens"].sum()),
    )
    return counts, dict(reasons.iter_rows())


class _Clock:
    """Seconds of each phase."""

    def __init__(self) -> None:
        self.started = datetime.now(UTC)
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 3)
        self._last = now
