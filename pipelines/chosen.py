"""Which assets a request to forget means."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from operators.faults import one_line
from operators.lake.deletion import row_addresses
from operators.lake.filters import check_whole
from operators.lake.tombstones import containers
from operators.storage import normalize
from pipelines.forget import unfinished
from pipelines.reader import LakeReader
from schemas.card import Frozen
from schemas.errors import UsageError

_HASH = "content_hash"


class Choice(Frozen):
    """Which assets a request means, and how much of the corpus they are now.

    `copies` counts other assets with the same content, which stay.
    """

    uris: tuple[str, ...]
    assets: int
    segments: int
    copies: int


def choose(reader: LakeReader, corpus: str, uris: Sequence[str] = (), where: str | None = None) -> Choice:
    """The assets that a request means, and those that an erasure that was cut short has left.

    Args:
        reader: of the lake.
        corpus: in which.
        uris: as they are in the lake, or as a person writes a path. They need not be in the corpus now: old
            versions may hold them.
        where: an SQL predicate; an asset is meant when its row in `assets`, or one of its segments, matches. With
            an archive what lies in it is meant too.

    Raises:
        UsageError: the predicate fits neither table, or is more than one expression.
    """
    columns = ["uri", "container", _HASH]
    assets = pl.DataFrame(pl.from_arrow(reader.assets(corpus).to_table(columns=columns)))
    known = set(assets["uri"].filter(assets["uri"].is_in(list(uris))))
    named = {uri if uri in known else normalize(uri) for uri in uris}
    named |= set(unfinished(reader.layout, corpus, reader.storage))
    named |= _matching(reader, corpus, where) if where else set()
    chosen = sorted(named | _inside(reader, corpus, named))
    mine = assets.filter(pl.col("uri").is_in(chosen))
    others = assets.join(mine, on="uri", how="anti").join(mine, on=_HASH, how="semi")
    segments = len(row_addresses(reader.segments(corpus), chosen)) if chosen else 0
    return Choice(uris=tuple(chosen), assets=mine.height, segments=segments, copies=others.height)


def _inside(reader: LakeReader, corpus: str, archives: set[str]) -> set[str]:
    """What lies in archives, at any depth and in any space: another recipe may not open them."""
    found: set[str] = set()
    for space in reader.catalog.corpora[corpus].spaces:
        table = reader.assets(corpus, space).to_table(columns=["uri"], filter="container IS NOT NULL")
        found |= {uri for uri in table["uri"].to_pylist() if not archives.isdisjoint(containers(uri))}
    return found


def _matching(reader: LakeReader, corpus: str, where: str) -> set[str]:
    found: set[str] = set()
    refused: list[str] = []
    spaces = reader.catalog.corpora[corpus].spaces
    tables = [open_(corpus, space) for space in spaces for open_ in (reader.assets, reader.segments)]
    for table in tables:
        check_whole(table, where)
        try:
            found |= set(table.to_table(columns=["uri"], filter=where)["uri"].to_pylist())
        except (ValueError, OSError) as error:
            refused.append(one_line(str(error), 200))
    if len(refused) == len(tables):
        raise UsageError(f"--where {where!r} fits neither the assets nor the segments: {refused[0]}")
    return found
