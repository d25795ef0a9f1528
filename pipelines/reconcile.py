"""Add up a run's receipts: which assets have ended and how, and which staged rows are to be published."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from operators.lake.receipts import RECEIPT, Receipt
from operators.lake.tables import Table
from operators.stage import kept_mask
from pipelines.donors import donor_key
from pipelines.prepared import Media, keeping
from schemas.errors import RETRIED, LakeError
from schemas.tables import (
    ASSET_KIND,
    ASSETS,
    DONORS_COLUMN,
    EMBEDDED,
    EXPANDED,
    METADATA_DIGEST,
    MOVED,
    QUARANTINED,
    SEGMENT_KIND,
)

_ERROR = ("stage", "code", "detail")
_PLANNED = ("uri", METADATA_DIGEST, "size", "etag", DONORS_COLUMN)
_OBJECT = pl.coalesce("container", "uri").alias("object")
"""What was planned: an asset, or the archive that it lies in."""


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a run's receipts add up to.

    `assets` are final rows (without `run_id`) of what was embedded, quarantined or expanded, `moved` such rows of
    what takes the vectors of a known asset with its `content_hash`, `fragments` those to commit, and `kept` those
    for the corpus' prepared media, of the assets `kept_uris`.
    """

    assets: pa.Table
    moved: pl.DataFrame
    fragments: list[str]
    kept: list[str]
    kept_uris: pl.Series


@dataclass(frozen=True)
class Attempts:
    """What earlier attempts of the same run have left of its work: outcomes and staged segments.

    A run whose plan may grow between attempts has receipts of rows that it no longer plans; they do not count, nor
    does an asset that took the vectors of a donor which is gone by now.

    Args:
        receipts: of the run.
        work: the plan's listing rows.
    """

    receipts: list[Receipt]
    work: pa.Table

    @cached_property
    def rows(self) -> pl.DataFrame:
        """All receipts' rows of what is planned, or lies in it; `receipt` is the receipt's index."""
        empty = pl.DataFrame(pl.from_arrow(RECEIPT.empty_table())).with_columns(receipt=pl.lit(0))
        frames = [
            pl.DataFrame(pl.from_arrow(receipt.rows)).with_columns(receipt=pl.lit(index))
            for index, receipt in enumerate(self.receipts)
        ]
        planned = pl.DataFrame(pl.from_arrow(self.work.select(list(_PLANNED)))).rename({"uri": "object"})
        found = (
            pl.concat([empty, *frames])
            .with_columns(object=_OBJECT)
            .join(
                planned,
                on=["object", METADATA_DIGEST],
                suffix="_planned",
                nulls_equal=True,
                maintain_order="left",
            )
        )
        size, etag = (pl.col(name).eq_missing(pl.col(f"{name}_planned")) for name in ("size", "etag"))
        same = etag & (size | pl.col("container").is_not_null())
        is_asset = pl.col("kind") == ASSET_KIND
        known = (pl.col("status") != MOVED) | pl.col(DONORS_COLUMN).list.contains(donor_key())
        return found.filter(~is_asset | (same & known)).drop("size_planned", "etag_planned", DONORS_COLUMN)

    def staged(self) -> pl.DataFrame:
        """Each staged segment once: uri, container, object, content_hash, segment_id, tokens, receipt."""
        good = (pl.col("kind") == SEGMENT_KIND) & pl.col("error_code").is_null()
        return self.rows.filter(good).unique(
            ["uri", "content_hash", "segment_id"], keep="first", maintain_order=True
        )

    def outcomes(self) -> pl.DataFrame:
        """One final row for each asset that has ended, `complete` when nothing of it, or inside it, is missing.

        A segment that the model failed on makes the asset quarantined; of several attempts the best counts.
        """
        rows = self.rows
        counts = (
            self.staged()
            .group_by("uri", "content_hash")
            .agg(
                pl.len().cast(pl.Int32).alias("staged"),
                pl.col("tokens").cast(pl.Int64).sum().alias("staged_tokens"),
            )
        )
        failed = (
            rows.filter((pl.col("kind") == SEGMENT_KIND) & pl.col("error_code").is_not_null())
            .join(self.staged(), on=["uri", "content_hash", "segment_id"], how="anti")
            .unique(["uri", "content_hash"], keep="first", maintain_order=True)
            .select("uri", "content_hash", *(pl.col(f"error_{c}").alias(f"failed_{c}") for c in _ERROR))
        )
        joined = (
            rows.filter(pl.col("kind") == ASSET_KIND)
            .join(counts, on=["uri", "content_hash"], how="left")
            .join(failed, on=["uri", "content_hash"], how="left")
        )
        broken = pl.col("failed_code").is_not_null() & (pl.col("status") == EMBEDDED)
        ended = (
            joined.with_columns(
                status=pl.when(broken).then(pl.lit(QUARANTINED)).otherwise("status"),
                **{f"error_{c}": pl.when(broken).then(f"failed_{c}").otherwise(f"error_{c}") for c in _ERROR},
                broken=broken.fill_null(False),
                complete=broken
                | pl.col("status").is_in([QUARANTINED, MOVED, EXPANDED])
                | (pl.col("segments") == pl.col("staged").fill_null(0)),
            )
            .sort("complete", pl.col("status") != QUARANTINED, descending=True, maintain_order=True)
            .unique("uri", keep="first", maintain_order=True)
        )
        return _with_whole_archives(ended)

    def remaining(self, again: bool = False) -> tuple[pa.Table, pl.DataFrame]:
        """The part of the work that has not ended, and the segments staged of it, each with its `object`.

        An asset that ended for a reason outside its bytes is tried again, an archive with such a member too;
        with `again` all that failed.
        """
        outcomes = self.outcomes()
        retried = pl.col("error_code").is_in([str(code) for code in RETRIED]).fill_null(False)
        if again:
            retried = pl.col("error_code").is_not_null()
        tried_again = outcomes.filter(retried)["object"]
        done = outcomes.filter(pl.col("complete") & ~pl.col("object").is_in(tried_again.implode()))
        left = (
            pl.DataFrame({"uri": pl.Series(self.work["uri"])})
            .with_row_index("row")
            .join(done, on="uri", how="anti")
        )
        return self.work.take(left["row"].to_arrow()), self.staged().join(
            left, left_on="object", right_on="uri", how="semi"
        )

    def members(self) -> pl.Series:
        """The URIs of what lies in archives."""
        found = self.rows.filter((pl.col("kind") == ASSET_KIND) & pl.col("container").is_not_null())
        return found["uri"].unique()

    def reconcile(
        self,
        table: Table,
        partial: bool = False,
        forgotten: pl.Series | None = None,
        media: Media | None = None,
    ) -> Reconciled:
        """Final rows and fragments; a row that was staged twice or belongs to no published asset is cut out.

        Args:
            table: the space that the fragments were staged for.
            partial: the run stopped early on purpose, so assets without outcome are left to the next one.
            forgotten: URIs of members that were erased on purpose, and must not come back with their archive.
            media: the prepared media of the recipe.

        Raises:
            LakeError: a planned asset has no outcome (I2), so nothing may be published.
        """
        planned = pl.DataFrame({"object": pl.Series(self.work["uri"])})
        outcomes = self.outcomes()
        whole = outcomes.filter(pl.col("complete") & (pl.col("uri") == pl.col("object")))["object"]
        ended = outcomes.filter(pl.col("object").is_in(whole.implode()))
        if len(whole) != planned.height and not partial:
            lost = planned.filter(~pl.col("object").is_in(whole.implode()))
            raise LakeError(
                f"{lost.height} assets have no outcome, {lost.item(0, 0)} first: nothing was published; "
                f"run the same command again to continue"
            )
        if forgotten is not None:
            ended = ended.filter(~pl.col("uri").is_in(forgotten.implode()))
        is_embedded = pl.col("status") == EMBEDDED
        wanted = self.staged().join(ended.filter(is_embedded), on=["uri", "content_hash"], how="semi")
        fragments = [
            fragment
            for index, rows in _by_receipt(wanted)
            for fragment in _cut(self._staged_in(index), self.receipts[index].fragments, rows, table)
        ]
        kept, kept_uris = self._kept(media, ended) if media is not None else ([], wanted["uri"].clear())
        final = (
            ended.filter(pl.col("status") != MOVED)
            .with_columns(
                segments=pl.when(is_embedded).then("segments").otherwise(0),
                tokens=pl.when(is_embedded).then("staged_tokens").otherwise(0).fill_null(0),
            )
            .select([name for name in ASSETS.names if name != "run_id"])
        )
        moved = ended.filter(pl.col("status") == MOVED)
        return Reconciled(final.to_arrow(), moved, fragments, kept, kept_uris)

    def _kept(self, media: Media, ended: pl.DataFrame) -> tuple[list[str], pl.Series]:
        """Fragments for the prepared media, and whose they are."""
        keep = keeping(self.rows, ended, media.heads())
        staged = [
            fragment
            for index, rows in _by_receipt(keep.rows)
            for fragment in _cut(self._kept_in(index), self.receipts[index].kept, rows, media.table)
        ]
        return [*staged, *media.carry(keep.moved)], keep.uris

    def _staged_in(self, index: int) -> int:
        rows = self.receipts[index].rows
        good = pc.and_(pc.equal(rows["kind"], SEGMENT_KIND), pc.is_null(rows["error_code"]))
        return pc.sum(good).as_py() or 0

    def _kept_in(self, index: int) -> int:
        return pc.sum(kept_mask(self.receipts[index].rows)).as_py() or 0


def _with_whole_archives(ended: pl.DataFrame) -> pl.DataFrame:
    """An archive is complete when as many of its members are as it said that it has."""
    inside = (
        ended.filter(pl.col("complete") & pl.col("container").is_not_null())
        .group_by("object")
        .agg(pl.len().alias("inside"))
    )
    own = pl.col("container").is_null() & pl.col("status").is_in([EXPANDED, QUARANTINED]) & ~pl.col("broken")
    whole = pl.col("segments").fill_null(0) <= pl.col("inside").fill_null(0)
    return ended.join(
        inside, left_on="uri", right_on="object", how="left", maintain_order="left"
    ).with_columns(complete=pl.col("complete") & (~own | whole))


def _by_receipt(rows: pl.DataFrame) -> list[tuple[int, pl.DataFrame]]:
    groups = rows.partition_by("receipt", as_dict=True)
    return [(index, groups[index,]) for (index,) in sorted(groups)]


def _cut(staged: int, fragments: list[str], keep: pl.DataFrame, table: Table) -> list[str]:
    """Fragments of so many rows with those to keep alone."""
    if keep.height == staged:
        return fragments
    key = ["uri", "segment_id"]
    rows = pa.concat_tables(table.staged_rows(fragment) for fragment in fragments)
    index_in = pl.DataFrame(pl.from_arrow(rows.select(key))).with_row_index("row")
    chosen = index_in.join(keep, on=key, how="semi", nulls_equal=True).unique(key).sort("row")
    return table.stage(rows.take(chosen["row"].to_arrow()))
