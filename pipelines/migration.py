"""Search while a corpus moves to another space: each asset in one of the two, and the old one's scores calibrated.

What the new space holds is searched there alone, the rest in the old one. Scores of two models cannot be compared,
so those of the old space are carried to the new one's scale by how rare they are for this query among rows that both
spaces hold.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.bridged import BridgedHalf
from pipelines.calibration import LEAST, Calibration
from pipelines.query import Hit, Query, Searcher, any_of
from pipelines.reader import LakeReader
from pipelines.rerank import Reranker
from pipelines.sample import ALL, Sample
from pipelines.spaces import IDENTITY
from schemas.errors import UsageError
from schemas.tables import EMBEDDED

_SAMPLE = 500
"""Assets of each modality."""
_CANDIDATES = 100
"""Of each model's query, for a bridge."""
_FEW = 10_000
"""So many assets are named in a filter; more are left out of what is found."""
Vector = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Halves:
    """Assets by where they are searched, each with `uri` and `modality`.

    `held` are embedded in the new space as they are in the old one, `left` only in the old one; `stale` are those of
    the new space that the old one has otherwise by now, or not any more.
    """

    held: pl.DataFrame
    left: pl.DataFrame
    stale: pl.DataFrame

    @classmethod
    def of(cls, reader: LakeReader, corpus: str, old: str, new: str) -> Halves:
        """The halves of a corpus, as a reader sees it."""
        columns = [*IDENTITY, "modality", "status"]
        ours, theirs = (
            pl.DataFrame(pl.from_arrow(reader.assets(corpus, space).to_table(columns=columns))).filter(
                pl.col("status") == EMBEDDED
            )
            for space in (old, new)
        )
        held = ours.join(theirs, on=IDENTITY, how="semi", nulls_equal=True)
        left, stale = (one.join(held, on="uri", how="anti") for one in (ours, theirs))
        return cls(*(one.select("uri", "modality") for one in (held, left, stale)))

    def as_at_half(self, seed: int) -> Halves:
        """As if of what is held now a seeded half had not moved yet."""
        order = self.held.sort("uri").sample(fraction=1.0, shuffle=True, seed=seed)
        moved, back = order[: order.height // 2], order[order.height // 2 :]
        return Halves(moved, back, pl.concat([self.stale, back]))


class MigrationSearcher:
    """Both models, loaded once for many queries over both spaces."""

    def __init__(
        self,
        reader: LakeReader,
        old: Searcher,
        new: Searcher,
        *,
        allow: tuple[str, ...] = (),
        bridge: bool = False,
        halves: Halves | None = None,
        seed: int = 0,
    ) -> None:
        """Find out what is where.

        Args:
            reader: of the lake.
            old: searches the space that is being left.
            new: searches the space that is being built.
            allow: further roots that manifests and documents may read, for a query that ranks again.
            bridge: whether what is left is searched by the new model's queries, too, over a linear bridge.
            halves: what is where, if not as the lake says.
            seed: of the sample that calibrates.

        Raises:
            UsageError: both are the same space; or there is to be a bridge and they were not cut by one recipe.
        """
        if old.space.id == new.space.id:
            raise UsageError(f"--spaces wants two spaces, and both are {old.space.id}")
        if bridge and old.space.recipe != new.space.recipe:
            raise UsageError("--bridge wants two spaces that were cut by the same recipe")
        self.reader, self.old, self.new, self.seed = reader, old, new, seed
        self.halves = halves or Halves.of(reader, old.corpus, old.space.id, new.space.id)
        self._bridged = bridge
        self._bridges: dict[int, BridgedHalf] = {}
        self._rerank = Reranker(reader, old, new, allow)
        self._samples: dict[tuple[str, int], Sample] = {}

    def search(self, query: Query, rerank: int = 0) -> list[Hit]:
        """The best segments, best first; scores are on the new space's scale.

        With too little in both spaces to calibrate by, the old space is searched as a whole.

        Args:
            query: its width, if it names one, is that of both spaces.
            rerank: so many of the best segments of the old space are embedded by the new model for the final order.

        Raises:
            UsageError: a width that a space does not have, or a filter that is not SQL over both tables' columns.
            LakeError: the lake cannot be read.
        """
        if self.halves.left.is_empty():
            return self._in_new(self.new.embed(query.parts), query)
        before, after = self.old.embed(query.parts), self.new.embed(query.parts)
        maps = self._maps(before, after, query.width)
        if ALL not in maps:
            return self.old.nearest(before, query)
        more = replace(query, limit=max(query.limit, rerank))
        if self._bridged:
            found = self._over_the_bridge(before, after, more)
        else:
            found = [_mapped(hit, maps) for hit in self._in_old(before, more)]
        found.sort(key=_best)
        if rerank:
            found[:rerank] = self._rerank(found[:rerank], after, query.width)
        return sorted([*found, *self._in_new(after, query)], key=_best)[: query.limit]

    def _in_new(self, vector: Vector, query: Query) -> list[Hit]:
        return _nearest(self.new, vector, query, self.halves.stale["uri"], inside=False)

    def _in_old(self, vector: Vector, query: Query) -> list[Hit]:
        return _nearest(self.old, vector, query, self.halves.left["uri"], inside=True)

    def _over_the_bridge(self, before: Vector, after: Vector, query: Query) -> list[Hit]:
        """The nearest of the old half to either model's query."""
        width = self.old.width(query.width)
        if width not in self._bridges:
            samples = (self._sample(one, query.width) for one in (self.old, self.new))
            self._bridges[width] = BridgedHalf(self.reader, self.old, *samples)
        half, more = self._bridges[width], replace(query, limit=max(query.limit, _CANDIDATES))
        before, after = self.old.at(before, query.width), self.new.at(after, query.width)
        hits = [*self._in_old(before, more), *self._in_old(half.asked(after), more)]
        return half(list({(hit.uri, hit.row["ordinal"]): hit for hit in hits}.values()), before, after)

    def _maps(self, before: Vector, after: Vector, width: int | None) -> dict[str, Calibration]:
        """A map for each modality of which both spaces hold enough, and one for all of them."""
        if self.halves.held.height < LEAST:
            return {}
        ours, theirs = (self._sample(one, width) for one in (self.old, self.new))
        before_cut, after_cut = self.old.at(before, width), self.new.at(after, width)
        maps = {}
        for kind in (ALL, *ours.kinds & theirs.kinds):
            with suppress(ValueError):  # a sample that cannot be mapped by
                maps[kind] = Calibration.fit(ours.of(kind) @ before_cut, theirs.of(kind) @ after_cut)
        return maps

    def _sample(self, searcher: Searcher, width: int | None) -> Sample:
        key = (searcher.space.id, searcher.width(width))
        if key not in self._samples:
            table = self.reader.segments(searcher.corpus, searcher.space.id)
            self._samples[key] = Sample.read(table, self._sampled, key[1])
        return self._samples[key]

    @cached_property
    def _sampled(self) -> list[str]:
        kinds = self.halves.held.sort("uri").partition_by("modality", maintain_order=True)
        drawn = (kind["uri"].sample(min(_SAMPLE, kind.height), seed=self.seed) for kind in kinds)
        return [uri for uris in drawn for uri in uris]


def _nearest(searcher: Searcher, vector: Vector, query: Query, uris: pl.Series, *, inside: bool) -> list[Hit]:
    """The nearest rows of assets that are, or are not, among `uris`."""
    if uris.is_empty():
        return [] if inside else searcher.nearest(vector, query)
    if len(uris) <= _FEW:
        among = any_of(uris)
        return searcher.nearest(vector, query, among if inside else f"NOT ({among})")
    wanted, asked = frozenset(uris), 2 * query.limit
    while True:
        found = searcher.nearest(vector, replace(query, limit=asked))
        kept = [hit for hit in found if (hit.uri in wanted) == inside]
        if len(kept) >= query.limit or len(found) < asked:
            return kept[: query.limit]
        asked *= 4


def _mapped(hit: Hit, maps: dict[str, Calibration]) -> Hit:
    score = maps.get(hit.modality, maps[ALL])([hit.score])
    return replace(hit, score=float(score[0]))


def _best(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.uri
