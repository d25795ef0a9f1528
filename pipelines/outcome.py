"""What a run came to: its counts, and whether that is good enough to publish."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa

from pipelines.plan import Plan
from pipelines.reconcile import Reconciled
from schemas.config import Policy
from schemas.errors import RETRIED, CoverageError, ErrorCode, LakeError, Stage
from schemas.report import Counts
from schemas.tables import ASSETS, EMBEDDED, EXPANDED, QUARANTINED

_FEW = 10
"""So few deletions are never refused."""
_OF_MEMBER = ("uri", "size", "etag", "mtime")
_NOT_COVERABLE = (str(ErrorCode.UNSUPPORTED), str(ErrorCode.MODALITY))
_KEEPING = [str(code) for code in sorted(RETRIED - {ErrorCode.SOURCE_NOT_ALLOWED})]


@dataclass(frozen=True)
class Outcome:
    """A plan and what its receipts add up to; `before` holds the columns `pipelines.plan.DIFFED` of the corpus.

    `uncounted` are further error codes that say nothing of the run's coverage; `failed_elsewhere` are assets that
    another space could not embed either, by `uri` and `error_code`.
    """

    plan: Plan
    result: Reconciled | None
    before: pl.DataFrame
    uncounted: tuple[str, ...] = ()
    failed_elsewhere: pl.DataFrame | None = None

    @cached_property
    def assets(self) -> pl.DataFrame:
        """Final rows of what was embedded, quarantined or expanded."""
        return pl.DataFrame(
            pl.from_arrow(ASSETS.empty_table() if self.result is None else self.result.assets)
        )

    @cached_property
    def moved(self) -> pl.DataFrame:
        """Rows of what takes the vectors of a known asset."""
        return self.assets.clear() if self.result is None else self.result.moved

    @property
    def quarantined(self) -> pl.DataFrame:
        """Final rows of the quarantined."""
        return self.assets.filter(pl.col("status") == QUARANTINED)

    @property
    def reasons(self) -> dict[str, int]:
        """How many assets were quarantined for each reason."""
        return dict(self.quarantined.group_by("error_code").len().sort("error_code").iter_rows())

    @cached_property
    def kept(self) -> pl.DataFrame:
        """Rows of what failed tonight for a reason outside its bytes, and keeps its vectors or its members.

        An archive that could not be read keeps what is in it. What was read and is not what it was keeps nothing.
        """
        opened = pl.col("container").is_null() & (
            (pl.col("status") == EXPANDED) | pl.col("uri").is_in(self.plan.members["container"].implode())
        )
        had = self.before.filter((pl.col("status") == EMBEDDED) | opened)
        unread = pl.col("error_stage") == str(Stage.FETCH)
        return (
            self.quarantined.filter(pl.col("error_code").is_in(_KEEPING))
            .join(had.select("uri", had="content_hash"), on="uri")
            .filter(unread | (pl.col("content_hash") == pl.col("had")))
        )

    @cached_property
    def final(self) -> pa.Table:
        """The rows of `assets` that take the place of older ones."""
        return self.assets.join(self.kept, on="uri", how="anti").to_arrow()

    @cached_property
    def replaced(self) -> list[str]:
        """Assets whose old rows and vectors go: changed, updated, deleted."""
        kept = set(self.kept["uri"])
        ended = {*self.assets["uri"], *self.moved["uri"]} - kept
        known = [uri for uri in self.plan.known if uri in ended]
        members = self.plan.members.filter(pl.col("container").is_in(known))["uri"]
        inside = [uri for uri in members if uri not in kept]
        return [*known, *inside, *self.plan.updates["uri"].to_pylist(), *self.plan.deleted]

    @property
    def carried(self) -> pa.Table:
        """Listing rows of assets whose vectors are copied, with their `container`; members have its metadata."""
        updates = self.plan.updates
        rows = pl.DataFrame({"object": pl.Series(self.plan.work["uri"])}).with_row_index("row")
        moved = self.moved.with_columns(object=pl.coalesce("container", "uri")).join(rows, on="object")
        own = moved.select(*_OF_MEMBER, "container").to_arrow()
        taken = self.plan.work.select(updates.column_names).take(moved["row"].to_arrow())
        for name in _OF_MEMBER:
            field = taken.schema.field(name)
            taken = taken.set_column(taken.column_names.index(name), field, own[name].cast(field.type))
        taken = taken.append_column("container", own["container"].cast(pa.string()))
        nothing = pa.nulls(updates.num_rows, pa.string())
        return pa.concat_tables([updates.append_column("container", nothing), taken])

    def counts(self) -> Counts:
        """The run in numbers.

        Raises:
            LakeError: they do not add up, so an asset was lost (I2).
        """
        plan, assets = self.plan, self.assets
        embedded = assets.filter(pl.col("status") == EMBEDDED)
        objects = sum(frame["container"].null_count() for frame in (assets, self.moved))
        counts = Counts(
            listed=plan.listed,
            excluded=plan.excluded,
            new=plan.new,
            changed=plan.changed,
            unchanged=plan.unchanged,
            updated=plan.updates.num_rows,
            deleted=len(plan.deleted),
            embedded=embedded.height,
            moved=self.moved.height,
            quarantined=self.quarantined.height,
            expanded=assets.filter(pl.col("status") == EXPANDED).height,
            members=assets.height + self.moved.height - objects,
            deferred=plan.deferred + plan.work.num_rows - objects,
            segments=int(embedded["segments"].sum()),
            tokens=int(embedded["tokens"].sum()),
        )
        if counts.listed != counts.ended or counts.deferred < 0:
            raise LakeError(f"assets do not add up: {counts.model_dump_json()}")
        return counts

    def changes_nothing(self) -> bool:
        """Whether the run only found again what the corpus says already, such as an object nobody may read."""
        if self.result is None or self.plan.deleted or self.plan.updates.num_rows or self.moved.height:
            return False
        if self.assets.filter(pl.col("status") == EMBEDDED).height:
            return False
        if self.kept.join(self.before, on=["uri", "error_code"], how="anti").height:
            return False
        columns = ["uri", "size", "etag", "status", "error_code"]
        rows = self.assets.join(self.kept, on="uri", how="anti")
        return rows.join(self.before, on=columns, how="anti", nulls_equal=True).is_empty()

    @property
    def coverage(self) -> float | None:
        """The share of the assets tried that have vectors now.

        Types that the model or embedlake does not know are not counted, nor what failed in the same way before.
        """
        counted = self.quarantined.filter(
            ~pl.col("error_code").is_in((*_NOT_COVERABLE, *self.uncounted))
        ).join(self._failed_before(), on=["uri", "error_code"], how="anti")
        covered = self.assets.filter(pl.col("status") == EMBEDDED).height
        covered += self.moved.height
        tried = covered + counted.height
        return covered / tried if tried else None

    def _failed_before(self) -> pl.DataFrame:
        columns = ["uri", "error_code"]
        here = self.before.filter(pl.col("error_code").is_not_null()).select(columns)
        return (
            here
            if self.failed_elsewhere is None
            else pl.concat([here, self.failed_elsewhere.select(columns)])
        )

    def check_deletions(self, policy: Policy) -> None:
        """Refuse to empty a corpus because its source looks empty, such as a folder that is not mounted.

        Once the receipts are in, what an archive does not hold any more counts too.

        Raises:
            CoverageError: more than the policy's share of the assets would go.
        """
        stay = pl.concat([self.assets["uri"], self.moved["uri"], pl.Series(self.plan.updates["uri"])])
        gone, corpus = len(set(self.replaced) - set(stay)), self.plan.corpus
        if gone > _FEW and gone > policy.max_deleted * corpus:
            raise CoverageError(
                f"{gone} of the corpus' {corpus} assets are no longer in their sources, more than --max-deleted "
                f"{policy.max_deleted:g}: nothing was published; look whether the source is whole, or give "
                f"--max-deleted 1 to let them go"
            )

    def check_coverage(self, policy: Policy, where: str) -> None:
        """Refuse a run that failed on too many assets.

        Args:
            policy: its floor.
            where: what a person can open to see which assets failed.

        Raises:
            CoverageError: below the policy's floor.
        """
        coverage = self.coverage
        if coverage is None or coverage >= policy.coverage_floor:
            return
        reasons = ", ".join(f"{n} x {code}" for code, n in self.reasons.items())
        raise CoverageError(
            f"{coverage:.1%} of the assets tried got vectors, less than --coverage-floor {policy.coverage_floor:g} "
            f"({reasons}): the run is staged and nothing was published; look at {where}, then run again, or with "
            f"--coverage-floor {int(coverage * 100) / 100:g} to publish it as it is (nothing is embedded twice)"
        )
