"""Plan a run before it costs anything: what is new, changed, moved, unchanged or gone."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from pipelines.donors import with_donors
from pipelines.listing import Selector
from pipelines.names import clashing, with_taken
from schemas.config import Selection
from schemas.errors import RETRIED
from schemas.tables import EMBEDDED, EXPANDED, METADATA_DIGEST

DIFFED = (
    "uri",
    "source",
    "container",
    "size",
    "etag",
    "status",
    "error_code",
    METADATA_DIGEST,
    "content_hash",
    "segments",
)
"""Columns of `assets` that a diff reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will do. `work` holds the listing rows to embed, in a canonical order.

    `updates` are listing rows whose bytes are known and whose metadata is new. `known` are the URIs of the work
    that the corpus holds already: their old rows go when the new ones come, and with an archive's those of its
    `members` (`uri` and `container`). `corpus` counts the assets that the
    corpus holds before the run.
    """

    work: pa.Table
    updates: pa.Table
    known: list[str]
    members: pl.DataFrame
    deleted: list[str]
    corpus: int
    listed: int
    excluded: int
    new: int
    changed: int
    unchanged: int
    deferred: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.work.num_rows and not self.updates.num_rows and not self.deleted

    def run_id(self, space_id: str, revision: int, grants: dict[str, tuple[str, ...]]) -> str:
        """A digest of everything the run depends on: the same work on the same base has the same id.

        A reused id with other inputs would silently lose data, so no name and no date is in it.
        """
        granted = json.dumps(grants, sort_keys=True)
        state = hashlib.sha256(f"{space_id}\n{revision}\n{granted}\n".encode())
        for table in (self.work, self.updates):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as writer:
                writer.write_table(table.combine_chunks())
            state.update(sink.getvalue())
        state.update("\n".join(self.deleted).encode())
        return state.hexdigest()[:16]


def diff(
    listing: pa.Table,
    assets: pa.Table,
    sources: list[str],
    selection: Selection = Selection(),
    forgotten: pl.Series | None = None,
    order: pl.Series | None = None,
    retry: bool = True,
) -> Plan:
    """Compare a listing with the corpus' assets by uri, size and etag, and by the digest of the metadata.

    What lies in an archive is as new, unchanged or gone as the archive is.
    An asset is deleted when one of `sources` listed it before and does not now; the same holds for what a
    folder inside one of `sources` listed. One that failed for a reason outside its bytes counts as changed, with
    vectors of an earlier run or without: it is tried again.

    Args:
        listing: what the sources hold now, as `pipelines.listing.combine` returns it.
        assets: the columns `DIFFED` of the corpus' assets.
        sources: what was listed.
        selection: which assets to look at.
        forgotten: bool for each row of the listing: erased on purpose, not to be embedded again.
        order: a rank for each row of the listing: with fewer assets than are to be embedded, changed ones and then
            those of low rank come first.
        retry: whether what failed for a reason outside its bytes is tried again.
    """
    selector = Selector(selection)
    old = pl.DataFrame(pl.from_arrow(assets.select(DIFFED)))
    joined = _joined(listing, old, selector, forgotten, retry)
    known, todo = pl.col("status").is_not_null(), pl.col("todo")
    ranked = joined if order is None else joined.with_columns(order=order)
    work = ranked.filter(todo).sort("uri" if order is None else [~known, "order", "uri"])
    taken = work.head(selection.max_assets or work.height)
    updates = joined.filter(pl.col("update")).sort("uri")
    rows = with_taken(listing.take(taken["row"].to_arrow()).combine_chunks(), listing)
    gone = old.filter(_owned(sources) & selector.by_name(_OBJECT)).join(
        joined, left_on=_OBJECT, right_on="uri", how="anti"
    )
    return Plan(
        work=with_donors(rows, old, selection.full),
        updates=listing.take(updates["row"].to_arrow()).combine_chunks(),
        known=taken.filter(known)["uri"].to_list(),
        members=old.select("uri", "container").join(taken, left_on="container", right_on="uri", how="semi"),
        deleted=sorted(gone["uri"]),
        corpus=old.height,
        listed=joined.height,
        excluded=joined.filter(~pl.col("chosen")).height,
        new=taken.filter(~known).height,
        changed=taken.filter(known).height,
        unchanged=joined.filter(pl.col("chosen") & ~todo & ~pl.col("update")).height,
        deferred=work.height - taken.height,
    )


def _joined(
    listing: pa.Table, old: pl.DataFrame, selector: Selector, forgotten: pl.Series | None, retry: bool
) -> pl.DataFrame:
    """The listing beside the corpus: `row` in the listing, the old status, and what is to be done."""
    columns = ["uri", "size", "etag", "mtime", METADATA_DIGEST]
    now = pl.DataFrame(pl.from_arrow(listing.select(columns))).with_row_index("row")
    now = now.with_columns(forgotten=pl.lit(False) if forgotten is None else forgotten)
    failed = pl.col("error_code").is_in([str(c) for c in RETRIED])
    again = old.filter(failed.fill_null(False)).select(_OBJECT.alias("uri")).unique()["uri"]
    known = pl.col("status").is_not_null()
    same = pl.col("size").eq_missing(pl.col("size_old")) & pl.col("etag").eq_missing(pl.col("etag_old"))
    retried = pl.col("uri").is_in(again.implode())
    clashes = pl.col("uri").is_in(clashing(old, now["uri"]).implode())
    edited = known & ~pl.col(METADATA_DIGEST).eq_missing(pl.col(f"{METADATA_DIGEST}_old"))
    renamed = edited & (pl.col("status") == EXPANDED)
    fresh = known & same & ~(retried & retry) & ~clashes & ~renamed & ~pl.lit(selector.again)
    named = selector.by_name() & ~pl.col("forgotten")
    return (
        now.join(
            old.filter(pl.col("container").is_null()).drop("source", "container", "content_hash", "segments"),
            on="uri",
            how="left",
            suffix="_old",
            maintain_order="left",
        )
        .with_columns(chosen=named & (selector.by_time() | fresh))
        .with_columns(
            todo=pl.col("chosen") & ~fresh,
            update=pl.col("chosen") & fresh & edited & (pl.col("status") == EMBEDDED).fill_null(False),
        )
        .select("row", "uri", "status", "chosen", "todo", "update")
    )


_OBJECT = pl.coalesce("container", "uri")
"""What the listing knows of an asset: the object that it is, or lies in."""


def _owned(sources: list[str]) -> pl.Expr:
    by_folder = pl.col("uri").str.starts_with(pl.col("source") + "/")
    inside = pl.any_horizontal(pl.col("source").str.starts_with(source + "/") for source in sources)
    return pl.col("source").is_in(sources) | (by_folder & inside)
