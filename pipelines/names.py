"""Objects whose URI is one that an archive's member would have: the object keeps it, the member gets another."""

from __future__ import annotations

from collections import defaultdict

import polars as pl
import pyarrow as pa

from operators.lake.tombstones import containers
from schemas.tables import MEMBER_MARK, TAKEN_COLUMN

_URI = pl.col("uri")


def with_taken(work: pa.Table, listing: pa.Table) -> pa.Table:
    """The work with the listed URIs that begin like those of what lies in it; unchanged where there is none.

    Args:
        work: listing rows.
        listing: all that is listed.
    """
    below: defaultdict[str, list[str]] = defaultdict(list)
    uris = pl.Series(listing["uri"])
    for uri in uris.filter(uris.str.contains(MEMBER_MARK, literal=True)).unique().sort():
        for container in containers(uri):
            below[container].append(uri)
    taken = [below.get(uri) for uri in work["uri"].to_pylist()] if below else []
    if not any(taken):
        return work
    return work.append_column(TAKEN_COLUMN, pa.array(taken, pa.list_(pa.string())))


def clashing(old: pl.DataFrame, listed: pl.Series) -> pl.Series:
    """Archives of which a member has a URI that is now an object's: they are to be read again."""
    return old.filter(pl.col("container").is_not_null() & _URI.is_in(listed.implode()))["container"].unique()
