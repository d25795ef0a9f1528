"""Cut a run's work into shards."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl
import pyarrow as pa

from schemas.config import RunConfig
from schemas.tables import STAGED_COLUMN

_FEW = 16
"""A shard of fewer small assets makes blocks that a model has too little of."""


def shards(work: pa.Table, config: RunConfig, least: int = 16) -> Iterator[pa.Table]:
    """The work in shards: each is bounded in assets and bytes, `least` of them where that leaves each enough.

    Rows are spread by a hash of their URI, so that the shards' costs are alike whatever the folders hold.
    """
    if not work.num_rows:
        return
    order = (
        pl.DataFrame({"key": pl.Series(work["uri"]).hash(seed=0)}).with_row_index("row").sort("key")["row"]
    )
    spread = work.take(order.to_arrow()).combine_chunks()
    share, enough = -(-work.num_rows // least), config.shard_bytes // _FEW
    sizes = spread["size"].fill_null(0).to_pylist()
    start, held = 0, 0
    for index, size in enumerate(sizes):
        count = index - start
        spent = count >= share and (count >= _FEW or held >= enough)
        if count == config.shard_assets or spent or (count and held + size > config.shard_bytes):
            yield spread.slice(start, index - start)
            start, held = index, 0
        held += size
    yield spread.slice(start)


def with_staged(work: pa.Table, staged: pl.DataFrame) -> pa.Table:
    """The work with the ids of segments that an earlier attempt has staged, as a list column.

    Args:
        work: listing rows.
        staged: `object` (the row of the work), `uri`, `container` and `segment_id`; for a member of an archive the
            id stands behind its URI.
    """
    key = (
        pl.when(pl.col("container").is_null())
        .then("segment_id")
        .otherwise(pl.concat_str("uri", "segment_id", separator=" "))
    )
    lists = staged.group_by("object").agg(key.alias(STAGED_COLUMN))
    rows = pl.DataFrame({"object": pl.Series(work["uri"])}).join(
        lists, on="object", how="left", maintain_order="left"
    )
    column = rows[STAGED_COLUMN].to_arrow().cast(pa.list_(pa.string()))
    return work.append_column(STAGED_COLUMN, column)
