"""Plan a run without touching the lake: the diff that `embed` would make, a census of it, and its cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.sources.listing import Listed
from operators.storage import check_lake_uri, explained
from pipelines.census import SAMPLE, SAMPLE_BYTES, SAMPLE_SECONDS, Sampler, ignore
from pipelines.embed import EmbedJob
from pipelines.ledger import check_space
from pipelines.listing import Selector, combine
from pipelines.outcome import Outcome
from pipelines.plan import DIFFED, Plan
from pipelines.rates import Trial, measured
from pipelines.reader import LakeReader
from schemas.corpus import check_corpus_name
from schemas.errors import CoverageError, ErrorCode, LakeError
from schemas.forecast import Census, Cost, Forecast, Rates, Skipped
from schemas.tables import ASSETS, QUARANTINED

_NOT_COUNTED = (ErrorCode.UNSUPPORTED, ErrorCode.MODALITY)
"""What a run's coverage leaves out too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanJob:
    """What an `EmbedJob` would do, and what that would cost. Its lake need not exist.

    The census reads at most `sample` assets of a kind, about `sample_bytes`, for about `sample_seconds`. Rates are
    the given one, else those of a trial here (`calibrate`), else those of the lake's earlier runs.
    """

    job: EmbedJob
    sample: int = SAMPLE
    sample_bytes: int = SAMPLE_BYTES
    sample_seconds: float = SAMPLE_SECONDS
    seed: int = 0
    calibrate: bool = False
    tokens_per_second: float | None = None
    usd_per_hour: float | None = None

    def run(self) -> Forecast:
        """List, diff, read a sample, and reckon. Nothing is written anywhere.

        Raises:
            EmbedlakeError: as the job itself would before it reads an asset.
        """
        job = self.job
        check_corpus_name(job.corpus)
        lake = check_lake_uri(job.lake)
        with explained(lake, LakeError):
            reader = LakeReader(Layout(lake), job.storage, CatalogLog(Layout(lake), job.storage).read())
            check_space(reader.catalog, job.corpus, job.space, lake)
            assets = self._assets(reader)
        listed = job.listed(lake)
        listing = combine([one.table for one in listed])
        plan = job.plan(lake, listed, listing, assets)
        job.progress.phase("sample", f"{plan.new} new, {plan.changed} changed, {plan.unchanged} unchanged")
        trial = Trial()
        census = self._census(plan, listed, trial)
        rates = self._rates(reader, trial)
        cost = cost_of(census, rates, self.usd_per_hour) if rates else None
        return Forecast(
            lake=lake,
            corpus=job.corpus,
            space=job.space.id,
            model=job.spec.card.model_id,
            listed=plan.listed,
            new=plan.new,
            changed=plan.changed,
            deleted=len(plan.deleted),
            skipped=self._skipped(plan, listing, assets),
            census=census,
            rates=rates,
            cost=cost,
            warnings=tuple(self._warnings(plan, assets, census, cost)),
        )

    def _assets(self, reader: LakeReader) -> pa.Table:
        if self.job.corpus not in reader.catalog.corpora:
            return ASSETS.empty_table().select(DIFFED)
        return reader.assets(self.job.corpus).to_table(columns=list(DIFFED))

    def _census(self, plan: Plan, listed: list[Listed], trial: Trial) -> Census:
        job = self.job
        return Sampler(
            read=job.reader({one.source: one.roots for one in listed}),
            sample=self.sample,
            max_bytes=self.sample_bytes,
            max_seconds=self.sample_seconds,
            seed=self.seed,
            keep=trial.keep if self.calibrate else ignore,
        ).take(plan.work, job.progress)

    def _rates(self, reader: LakeReader, trial: Trial) -> Rates | None:
        if self.tokens_per_second is not None:
            return Rates(source="given", tokens_per_second={"all": self.tokens_per_second}, note="as given")
        if self.calibrate:
            self.job.progress.phase("try", self.job.spec.card.model_id)
            return trial.run(self.job.spec, self.job.space, self.job.config)
        return measured(reader, self.job.space)

    def _skipped(self, plan: Plan, listing: pa.Table, assets: pa.Table) -> Skipped:
        listed = pl.DataFrame({"uri": pl.Series(listing["uri"])})
        planned = pl.DataFrame({"uri": pl.Series(plan.work["uri"])})
        failed = (
            pl.DataFrame(pl.from_arrow(assets.select(["uri", "status", "error_code"])))
            .filter((pl.col("status") == QUARANTINED) & Selector(self.job.selection).by_name())
            .join(listed, on="uri", how="semi")
            .join(planned, on="uri", how="anti")
        )
        codes = failed.group_by("error_code").len().sort("error_code")
        return Skipped(
            unchanged=plan.unchanged,
            excluded=plan.excluded,
            deferred=plan.deferred,
            updated=plan.updates.num_rows,
            quarantined=dict(codes.iter_rows()),
        )

    def _warnings(self, plan: Plan, assets: pa.Table, census: Census, cost: Cost | None) -> Iterator[str]:
        """What would keep the run from publishing all of it."""
        budget, floor = self.job.policy.budget_gpu_hours, self.job.policy.coverage_floor
        try:
            Outcome(plan, None, pl.DataFrame(pl.from_arrow(assets))).check_deletions(self.job.policy)
        except CoverageError as error:
            yield str(error)
        lost = sum(e.value for code, e in census.quarantined.items() if code not in _NOT_COUNTED)
        if lost > (1 - floor) * census.assets:
            yield f"about {lost:.0f} assets would fail: over what --coverage-floor {floor:g} lets a run publish with"
        if budget is not None and cost is not None and cost.actor_hours.value > budget:
            share = budget / cost.actor_hours.value
            yield f"the budget of {budget:g} actor-hours is enough for about {share:.0%}; later runs do the rest"
        for one in census.unestimated:
            yield f"{one.assets} {one.kind} assets of {one.bytes} bytes are not in the estimate: too large, or too late"


def cost_of(census: Census, rates: Rates, usd_per_hour: float | None) -> Cost:
    """Actor-hours and money; each modality's tokens at its own rate, the interval that of all tokens."""
    seconds = sum(one.tokens.value / rates.of(one.modality) for one in census.modalities)
    a_token = seconds / census.tokens.value if census.tokens.value else 0.0
    hours = census.tokens.scaled(a_token / 3600)
    return Cost(actor_hours=hours, usd=None if usd_per_hour is None else hours.scaled(usd_per_hour))
