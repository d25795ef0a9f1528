"""Add up a run's receipts: which assets have ended and how, and which staged rows are to be published."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from operators.lake.receipts import RECEIPT, Receipt
from operators.lake.tables import Table
from schemas.errors import RETRIED, LakeError
from schemas.tables import ASSET_KIND, ASSETS, EMBEDDED, METADATA_DIGEST, MOVED, QUARANTINED, SEGMENT_KIND

_ERROR = ("stage", "code", "detail")
_PLANNED = ("uri", METADATA_DIGEST, "size", "etag")


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a run's receipts add up to.

    `assets` are final rows (without `run_id`) of what was embedded or quarantined, `moved` the `uri` and
    `content_hash` of what takes the vectors of a known asset, `fragments` those to commit.
    """

    assets: pa.Table
    moved: pl.DataFrame
    fragments: list[str]


@dataclass(frozen=True)
class Attempts:
    """What earlier attempts of the same run have left of its work: outcomes and staged segments.

    A run whose plan may grow between attempts has receipts of rows that it no longer plans; they do not count.

    Args:
        receipts: of the run.
        work: the plan's listing rows.
    """

    receipts: list[Receipt]
    work: pa.Table

    @cached_property
    def rows(self) -> pl.DataFrame:
        """All receipts' rows of what is planned; `receipt` is the receipt's index."""
        empty = pl.DataFrame(pl.from_arrow(RECEIPT.empty_table())).with_columns(receipt=pl.lit(0))
        frames = [
            pl.DataFrame(pl.from_arrow(receipt.rows)).with_columns(receipt=pl.lit(index))
            for index, receipt in enumerate(self.receipts)
        ]
        planned = pl.DataFrame(pl.from_arrow(self.work.select(list(_PLANNED))))
        found = pl.concat([empty, *frames]).join(
            planned, on=["uri", METADATA_DIGEST], suffix="_planned", nulls_equal=True, maintain_order="left"
        )
        same = [pl.col(name).eq_missing(pl.col(f"{name}_planned")) for name in ("size", "etag")]
        is_asset = pl.col("kind") == ASSET_KIND
        return found.filter(~is_asset | pl.all_horizontal(*same)).drop("size_planned", "etag_planned")

    def staged(self) -> pl.DataFrame:
        """Each staged segment once: uri, content_hash, segment_id, tokens, receipt."""
        good = (pl.col("kind") == SEGMENT_KIND) & pl.col("error_code").is_null()
        return self.rows.filter(good).unique(
            ["uri", "content_hash", "segment_id"], keep="first", maintain_order=True
        )

    def outcomes(self) -> pl.DataFrame:
        """One final row for each asset that has ended, `complete` when nothing of it is missing.

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
        return (
            joined.with_columns(
                status=pl.when(broken).then(pl.lit(QUARANTINED)).otherwise("status"),
                **{f"error_{c}": pl.when(broken).then(f"failed_{c}").otherwise(f"error_{c}") for c in _ERROR},
                complete=broken
                | pl.col("status").is_in([QUARANTINED, MOVED])
                | (pl.col("segments") == pl.col("staged").fill_null(0)),
            )
            .sort("complete", pl.col("status") == EMBEDDED, descending=True, maintain_order=True)
            .unique("uri", keep="first", maintain_order=True)
        )

    def remaining(self) -> tuple[pa.Table, pl.DataFrame]:
        """The part of the work that has not ended, and the segments staged of it.

        An asset that ended for a reason outside its bytes is tried again.
        """
        retried = pl.col("error_code").is_in([str(code) for code in RETRIED]).fill_null(False)
        done = self.outcomes().filter(pl.col("complete") & ~retried)
        left = (
            pl.DataFrame({"uri": pl.Series(self.work["uri"])})
            .with_row_index("row")
            .join(done, on="uri", how="anti")
        )
        return self.work.take(left["row"].to_arrow()), self.staged().join(left, on="uri", how="semi")

    def reconcile(self, table: Table, partial: bool = False) -> Reconciled:
        """Final rows and fragments; a row that was staged twice or belongs to no published asset is cut out.

        Args:
            table: the space that the fragments were staged for.
            partial: the run stopped early on purpose, so assets without outcome are left to the next one.

        Raises:
            LakeError: a planned asset has no outcome (I2), so nothing may be published.
        """
        planned = pl.DataFrame({"uri": pl.Series(self.work["uri"])})
        ended = self.outcomes().filter("complete")
        if ended.height != planned.height and not partial:
            lost = planned.join(ended, on="uri", how="anti")
            raise LakeError(
                f"{lost.height} assets have no outcome, {lost.item(0, 0)} first: nothing was published; "
                f"run the same command again to continue"
            )
        is_embedded = pl.col("status") == EMBEDDED
        wanted = self.staged().join(ended.filter(is_embedded), on=["uri", "content_hash"], how="semi")
        by_receipt = wanted.partition_by("receipt", as_dict=True)
        fragments = [
            kept
            for (index,), rows in sorted(by_receipt.items())
            for kept in _kept(self.receipts[index], rows, table)
        ]
        final = (
            ended.filter(pl.col("status") != MOVED)
            .with_columns(
                segments=pl.when(is_embedded).then("segments").otherwise(0),
                tokens=pl.when(is_embedded).then("staged_tokens").otherwise(0).fill_null(0),
            )
            .select([name for name in ASSETS.names if name != "run_id"])
        )
        moved = ended.filter(pl.col("status") == MOVED).select("uri", "content_hash")
        return Reconciled(final.to_arrow(), moved, fragments)


def _kept(receipt: Receipt, keep: pl.DataFrame, table: Table) -> list[str]:
    staged = receipt.rows.filter(
        pc.and_(pc.equal(receipt.rows["kind"], SEGMENT_KIND), pc.is_null(receipt.rows["error_code"]))
    )
    if keep.height == staged.num_rows:
        return receipt.fragments
    rows = pa.concat_tables(table.staged_rows(fragment) for fragment in receipt.fragments)
    index_in = pl.DataFrame(pl.from_arrow(rows.select(["uri", "segment_id"]))).with_row_index("row")
    chosen = (
        index_in.join(keep, on=["uri", "segment_id"], how="semi").unique(["uri", "segment_id"]).sort("row")
    )
    return table.stage(rows.take(chosen["row"].to_arrow()))
