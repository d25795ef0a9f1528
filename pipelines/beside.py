"""The live space's assets as a listing: what a space beside it is compared with, to find what it lacks or has too much.

The same diff that a night makes of its sources is made of this listing, so whatever happens to the live space between
two batches of a backfill, nothing falls between.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import duckdb
import lance
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from operators.sources.listing import list_source, roots_of
from pipelines.forget import forgotten_mask
from pipelines.plan import DIFFED, Plan, diff
from pipelines.reader import LakeReader
from pipelines.sql import connected
from schemas.config import Selection
from schemas.corpus import Backfill
from schemas.errors import SourceError, UsageError
from schemas.space import plain_columns
from schemas.tables import LISTING, METADATA_DIGEST, SEGMENT

_NEWEST_FIRST = "mtime DESC NULLS LAST"
_OWN = frozenset({*(field.name for field in SEGMENT), "run_id"})
_LISTED = [name for name in LISTING.names if name != "inline"]
_ROW = "listing_row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """The live space's assets, those that a backfill wants, and in which order.

    `listing` is as `pipelines.listing.combine` returns one; `skipped` and `order` have a value for each of its rows;
    `failed` are `uri` and `error_code` of what the live space could not embed.
    """

    listing: pa.Table
    fields: list[pa.Field]
    skipped: pl.Series
    order: pl.Series
    failed: pl.DataFrame
    grants: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, reader: LakeReader, corpus: str, backfill: Backfill) -> Beside:
        """The listing of a corpus for a backfill.

        Raises:
            UsageError: `where` or `priority` is not SQL over the assets and the user's columns.
        """
        everything = reader.assets(corpus).to_table().combine_chunks()
        metadata, has_rows = _metadata(reader.segments(corpus), everything)
        order = _order(everything, metadata, backfill)
        listable = pc.is_null(everything["container"])
        assets, metadata, has_rows = (one.filter(listable) for one in (everything, metadata, has_rows))
        inline, lost = _inline(reader, assets, backfill.allow)
        forgotten = forgotten_mask(reader.layout.lake, corpus, pl.Series(assets["uri"]), reader.storage)
        listing = assets.select(_LISTED).append_column(LISTING.field("inline"), inline)
        if metadata.num_columns:
            struct = pa.StructArray.from_arrays(
                [column.combine_chunks() for column in metadata.columns], fields=list(metadata.schema)
            )
            listing = listing.append_column("metadata", struct)
        digests = pc.if_else(has_rows, assets[METADATA_DIGEST], pa.scalar(None, pa.string()))
        return cls(
            listing=listing.append_column(METADATA_DIGEST, digests),
            fields=list(metadata.schema),
            skipped=order.is_null() | lost | forgotten,
            order=order.fill_null(0),
            failed=pl.DataFrame(pl.from_arrow(everything.select(["uri", "error_code"]))).drop_nulls(),
            grants=grants_of(assets, backfill.allow),
        )

    def plan(self, assets: pa.Table, most: int | None, retry: bool) -> Plan:
        """What the space beside needs.

        Args:
            assets: the columns `DIFFED` of the assets that it holds.
            most: so many assets at most, changed ones and then those of the highest priority first.
            retry: whether what failed for a reason outside its bytes is tried again.
        """
        sources = set(pl.Series(self.listing["source"])) | set(pl.Series(assets["source"]))
        limit = Selection(max_assets=most)
        held = assets.select(list(DIFFED))
        return diff(self.listing, held, sorted(sources), limit, self.skipped, self.order, retry)


def _metadata(segments: lance.LanceDataset, assets: pa.Table) -> tuple[pa.Table, pa.Array]:
    """The user's columns for each asset, and which assets have rows: the others' values are not in the lake.

    An archive and its members have the same values. An asset without rows is taken to have no metadata, so that the
    next night that lists it gives it its own.
    """
    names = [name for name in plain_columns(segments.schema) if name not in _OWN]
    if not names:
        return assets.select([]), pa.array([True] * assets.num_rows, pa.bool_())
    first = segments.to_table(columns=["uri", *names], filter="ordinal = 0")
    objects = _objects(assets)
    known = (
        pl.DataFrame({"uri": pl.Series(first["uri"])})
        .with_row_index("row")
        .join(objects, on="uri", maintain_order="left")
        .unique("object", keep="first", maintain_order=True)
    )
    rows = objects.join(known.drop("uri"), on="object", how="left", maintain_order="left")["row"]
    return first.select(names).take(rows.to_arrow()), rows.is_not_null().to_arrow()


def _objects(assets: pa.Table) -> pl.DataFrame:
    """`uri` of each asset, and the `object` that it is or lies in."""
    frame = pl.DataFrame(pl.from_arrow(assets.select(["uri", "container"])))
    return frame.select("uri", object=pl.coalesce("container", "uri"))


def _order(assets: pa.Table, metadata: pa.Table, backfill: Backfill) -> pl.Series:
    """The rank of each listable asset that is wanted, null for the others; an archive has the best of its members."""
    columns = {name: assets[name] for name in assets.column_names}
    columns["mtime"] = assets["mtime"].cast(pa.timestamp("ms"))
    columns |= {name: metadata[name] for name in metadata.column_names}
    columns[_ROW] = pa.array(range(assets.num_rows), pa.int64())
    where, priority = backfill.where or "true", backfill.priority or _NEWEST_FIRST
    try:
        with connected() as connection:
            connection.register("assets", pa.table(columns))
            connection.execute("SET lock_configuration = true")
            chosen = connection.sql(f"SELECT {_ROW} FROM assets WHERE ({where}) ORDER BY {priority}, uri")  # noqa: S608
            ranked = pl.DataFrame(pl.from_arrow(chosen.to_arrow_table())).with_row_index("rank")
    except duckdb.Error as error:
        said = " ".join(str(error).split())[:300]
        raise UsageError(f"--where or --priority is not SQL over the corpus' assets: {said}") from error
    best = (
        _objects(assets)
        .with_row_index(_ROW)
        .with_columns(pl.col(_ROW).cast(pl.Int64))
        .join(ranked, on=_ROW)
        .group_by("object")
        .agg(pl.col("rank").min())
    )
    listable = _objects(assets.filter(pc.is_null(assets["container"])))
    return listable.join(best, on="object", how="left", maintain_order="left")["rank"]


def _inline(reader: LakeReader, assets: pa.Table, allow: tuple[str, ...]) -> tuple[pa.Array, pl.Series]:
    """Documents that are lines of manifests, read again, and which assets' line is not there any more as it was."""
    rows = pl.DataFrame(pl.from_arrow(assets.select(["uri", "source", "etag"])))
    is_line = pl.col("uri").str.starts_with(pl.col("source") + "#")
    lines = rows.filter(is_line)
    found = [pl.DataFrame(schema={"uri": pl.String, "etag": pl.String, "inline": pl.Binary})]
    for source in lines["source"].unique().sort():
        with suppress(SourceError):  # a night tells of a manifest that is not there
            table = list_source(source, reader.storage, allow, reader.layout.lake).table
            found.append(pl.DataFrame(pl.from_arrow(table.select(["uri", "etag", "inline"]))))
    joined = rows.with_columns(line=is_line).join(
        pl.concat(found), on=["uri", "etag"], how="left", maintain_order="left"
    )
    inline = joined["inline"].to_arrow().cast(pa.large_binary())
    return inline, joined["line"] & joined["inline"].is_null()


def grants_of(assets: pa.Table, allow: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """What each source of assets may read: a folder is known by what was found below it."""
    rows = pl.DataFrame(pl.from_arrow(assets.select(["uri", "source"])))
    folders = set(rows.filter(pl.col("uri").str.starts_with(pl.col("source") + "/"))["source"].unique())
    return {
        source: roots_of(source, allow, folder=source in folders) for source in rows["source"].unique().sort()
    }
