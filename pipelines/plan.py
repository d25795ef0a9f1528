"""Plan a run before it costs anything: what is new, changed, unchanged, deleted, and in which shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from schemas.config import RunConfig
from schemas.errors import RETRIED, SourceError
from schemas.tables import LISTING, QUARANTINED, STAGED_COLUMN

_IDENTITY = ("uri", "size", "etag")
_LEAST_SHARDS = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do. `work` holds the listing rows to embed, in a canonical order.

    `known` are the URIs of the work that the corpus holds already: their old rows go when the new ones come.
    """

    work: pa.Table
    known: list[str]
    deleted: list[str]
    listed: int
    new: int
    changed: int
    unchanged: int

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.work.num_rows and not self.deleted

    def run_id(
        self, space_id: str, space_version: int, assets_version: int, grants: dict[str, tuple[str, ...]]
    ) -> str:
        """A digest of everything the run depends on: the same work on the same base has the same id.

        A reused id with other inputs would silently lose data, so no name and no date is in it.
        """
        granted = json.dumps(grants, sort_keys=True)
        state = hashlib.sha256(f"{space_id}\n{space_version}\n{assets_version}\n{granted}\n".encode())
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.work.schema) as writer:
            writer.write_table(self.work.combine_chunks())
        state.update(sink.getvalue())
        state.update("\n".join(self.deleted).encode())
        return state.hexdigest()[:16]


def combine(listings: list[pa.Table]) -> pa.Table:
    """One listing of several sources.

    Raises:
        SourceError: an object is in two of them, or two manifests type a metadata column differently.
    """
    try:
        table = pa.concat_tables([_flat(t) for t in listings], promote_options="default")
    except pa.ArrowException as error:
        raise SourceError(f"the manifests' metadata columns do not fit together: {error}") from error
    repeated = pl.Series(table["uri"]).value_counts().filter(pl.col("count") > 1)
    if repeated.height:
        raise SourceError(f"{repeated.item(0, 0)} is in more than one source: name it once")
    names = [name for name in table.column_names if name not in LISTING.names]
    if not names:
        return table
    columns = [table[name].combine_chunks() for name in names]
    metadata = pa.StructArray.from_arrays(columns, fields=[table.schema.field(name) for name in names])
    return table.select(LISTING.names).append_column("metadata", metadata)


def _flat(listing: pa.Table) -> pa.Table:
    if "metadata" not in listing.column_names:
        return listing
    metadata = listing["metadata"].combine_chunks()
    flat = listing.drop_columns(["metadata"])
    for index, field in enumerate(metadata.type):
        flat = flat.append_column(field, metadata.field(index))
    return flat


def diff(listing: pa.Table, assets: pa.Table, sources: list[str]) -> Plan:
    """Compare a listing with the corpus' assets by uri, size and etag.

    An asset is deleted when one of `sources` listed it before and does not now; the same holds for what a
    folder inside one of `sources` listed. One quarantined for a reason outside its bytes counts as changed:
    it is tried again.
    """
    now = pl.DataFrame(pl.from_arrow(listing.select(_IDENTITY)))
    old = pl.DataFrame(pl.from_arrow(assets.select([*_IDENTITY, "source", "status", "error_code"])))
    joined = now.with_row_index("row").join(old, on="uri", how="left", suffix="_old", maintain_order="left")
    known = pl.col("status").is_not_null()
    same = pl.col("size").eq_missing(pl.col("size_old")) & pl.col("etag").eq_missing(pl.col("etag_old"))
    retry = (pl.col("status") == QUARANTINED) & pl.col("error_code").is_in([str(c) for c in RETRIED])
    unchanged = known & same & ~retry.fill_null(False)
    todo = joined.filter(~unchanged).sort("uri")
    by_folder = pl.col("uri").str.starts_with(pl.col("source") + "/")
    inside = pl.any_horizontal(pl.col("source").str.starts_with(source + "/") for source in sources)
    owned = pl.col("source").is_in(sources) | (by_folder & inside)
    gone = old.filter(owned).join(now, on="uri", how="anti")
    return Plan(
        work=listing.take(todo["row"].to_arrow()).combine_chunks(),
        known=todo.filter(known)["uri"].to_list(),
        deleted=sorted(gone["uri"]),
        listed=now.height,
        new=joined.filter(~known).height,
        changed=joined.filter(known & ~unchanged).height,
        unchanged=joined.filter(unchanged).height,
    )


def shards(work: pa.Table, config: RunConfig) -> Iterator[pa.Table]:
    """The work in decode tasks: bounded in assets and bytes, small enough that every worker gets some.

    Rows are spread by a hash of their URI, so that the shards' costs are alike whatever the folders hold.
    """
    if not work.num_rows:
        return
    order = (
        pl.DataFrame({"key": pl.Series(work["uri"]).hash(seed=0)}).with_row_index("row").sort("key")["row"]
    )
    spread = work.take(order.to_arrow()).combine_chunks()
    most = max(1, min(config.shard_assets, -(-work.num_rows // _LEAST_SHARDS)))
    sizes = spread["size"].fill_null(0).to_pylist()
    start, held = 0, 0
    for index, size in enumerate(sizes):
        full = index - start == most or (held and held + size > config.shard_bytes)
        if full:
            yield spread.slice(start, index - start)
            start, held = index, 0
        held += size
    yield spread.slice(start)


def with_staged(work: pa.Table, staged: pl.DataFrame) -> pa.Table:
    """The work with the ids of segments that an earlier attempt has staged, as a list column."""
    lists = staged.group_by("uri").agg(pl.col("segment_id").alias(STAGED_COLUMN))
    rows = pl.DataFrame({"uri": pl.Series(work["uri"])}).join(
        lists, on="uri", how="left", maintain_order="left"
    )
    column = rows[STAGED_COLUMN].to_arrow().cast(pa.list_(pa.string()))
    return work.append_column(STAGED_COLUMN, column)
