"""Which known contents an object may turn out to be, so that its vectors are copied instead of made again."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from schemas.tables import DONORS_COLUMN, EMBEDDED, EXPANDED, NAME_SUFFIX

_MOST = 4
_ALIKE = ["size", "suffix"]
_KEY = "donor_key"
_SUFFIX = pl.col("uri").str.to_lowercase().str.extract(f"({NAME_SUFFIX})").fill_null("").alias("suffix")


def donor_key() -> pl.Expr:
    """An entry of `donors`, of the columns `content_hash` and `uri`: the same bytes under another name may be read
    in another way."""
    return pl.concat_str("content_hash", _SUFFIX)


def with_donors(work: pa.Table, old: pl.DataFrame, full: bool) -> pa.Table:
    """The work with the content hashes of embedded assets that could be the same bytes elsewhere.

    Those with the same etag come first (a copy on S3, a rename on disk); without one, the few of the same size.
    An archive's are those of its members as it was, and of the members of one with the same etag.

    Args:
        work: listing rows.
        old: the corpus' assets, as `pipelines.plan.DIFFED`.
        full: everything is embedded again, so there are none.
    """
    wanted = pl.DataFrame(pl.from_arrow(work.select(["uri", "size", "etag"]))).with_columns(_SUFFIX)
    if full:
        return work.append_column(DONORS_COLUMN, pa.nulls(work.num_rows, pa.list_(pa.string())))
    alike = (
        old.lazy()
        .filter((pl.col("status") == EMBEDDED) & (pl.col("segments") > 0))
        .select("size", "etag", _SUFFIX, donor_key().alias(_KEY))
        .join(wanted.lazy().filter(pl.col("size") > 0), on=_ALIKE, how="semi")
        .collect()
    )
    hashes = pl.col(_KEY).unique().sort()
    by_etag = alike.group_by(*_ALIKE, "etag").agg(hashes.head(_MOST).alias("by_etag"))
    by_size = alike.group_by(_ALIKE).agg(hashes.alias("by_size"))
    by_size = by_size.filter(pl.col("by_size").list.len() <= _MOST)
    found = (
        wanted.join(_of_members(wanted, old), on="uri", how="left", maintain_order="left")
        .join(by_etag, on=[*_ALIKE, "etag"], how="left", maintain_order="left")
        .join(by_size, on=_ALIKE, how="left", maintain_order="left")
    )
    column = found.select(pl.coalesce("by_member", "by_etag", "by_size")).to_series().to_arrow()
    return work.append_column(DONORS_COLUMN, column.cast(pa.list_(pa.string())))


def _of_members(wanted: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """`uri` of the work, and `by_member`: what the archive that it was, or is a copy of, held."""
    archives = old.filter(pl.col("status") == EXPANDED).select(
        pl.col("uri").alias("container"), "size", "etag", _SUFFIX
    )
    same = wanted.join(archives.select(pl.col("container").alias("uri"), "container"), on="uri")
    copies = wanted.join(archives, on=[*_ALIKE, "etag"])
    pairs = pl.concat([same.select("uri", "container"), copies.select("uri", "container")]).unique()
    members = old.filter((pl.col("status") == EMBEDDED) & pl.col("container").is_not_null())
    return (
        pairs.join(members.select("container", donor_key().alias(_KEY)), on="container")
        .group_by("uri")
        .agg(pl.col(_KEY).unique().sort().alias("by_member"))
    )
