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

from pipelines.calibration import LEAST, Calibration
from pipelines.query import Hit, Query, Searcher, any_of
from pipelines.reader import LakeReader
from pipelines.rerank import Reranker
from pipelines.spaces import IDENTITY
from schemas.errors import UsageError
from schemas.space import embedding_column
from schemas.tables import EMBEDDED

_SAMPLE = 500
"""Assets of each modality."""
_FIRST = 8
"""Segments of an asset in the sample, at most: one book must not be all of it."""
_FEW = 2_000
"""So many assets are named in a filter; more are left out of what is found."""
_ALL = ""
Vector = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]


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


class MigrationSearcher:
    """Both models, loaded once for many queries over both spaces."""

    def __init__(
        self, reader: LakeReader, old: Searcher, new: Searcher, *, allow: tuple[str, ...] = (), seed: int = 0
    ) -> None:
        """Find out what is where.

        Args:
            reader: of the lake.
            old: searches the space that is being left.
            new: searches the space that is being built.
            allow: further roots that manifests and documents may read, for a query that ranks again.
            seed: of the sample that calibrates.

        Raises:
            UsageError: both are the same space.
        """
        if old.space.id == new.space.id:
            raise UsageError(f"--spaces wants two spaces, and both are {old.space.id}")
        self.reader, self.old, self.new, self.seed = reader, old, new, seed
        self.halves = Halves.of(reader, old.corpus, old.space.id, new.space.id)
        self._rerank = Reranker(reader, old, new, allow)
        self._samples: dict[tuple[str, int], dict[str, Matrix]] = {}

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
        if _ALL not in maps:
            return self.old.nearest(before, query)
        more = replace(query, limit=max(query.limit, rerank))
        found = [_mapped(hit, maps) for hit in self._in_old(before, more)]
        found.sort(key=_best)
        if rerank:
            found[:rerank] = self._rerank(found[:rerank], after, query.width)
        return sorted([*found, *self._in_new(after, query)], key=_best)[: query.limit]

    def _in_new(self, vector: Vector, query: Query) -> list[Hit]:
        return _nearest(self.new, vector, query, self.halves.stale["uri"], inside=False)

    def _in_old(self, vector: Vector, query: Query) -> list[Hit]:
        return _nearest(self.old, vector, query, self.halves.left["uri"], inside=True)

    def _maps(self, before: Vector, after: Vector, width: int | None) -> dict[str, Calibration]:
        """A map for each modality of which both spaces hold enough, and one for all of them."""
        if self.halves.held.height < LEAST:
            return {}
        ours, theirs = (
            {
                kind: rows @ np.asarray(one.cut(vector, rows.shape[1]), np.float32)
                for kind, rows in sample.items()
            }
            for one, vector, sample in (
                (self.old, before, self._sample(self.old, width)),
                (self.new, after, self._sample(self.new, width)),
            )
        )
        maps = {}
        for kind in ours.keys() & theirs.keys():
            with suppress(ValueError):  # a sample that cannot be mapped by
                maps[kind] = Calibration.fit(ours[kind], theirs[kind])
        return maps

    def _sample(self, searcher: Searcher, width: int | None) -> dict[str, Matrix]:
        """Vectors `[rows, width]` of the sampled assets' segments by modality, and of all."""
        at = searcher.width(width)
        key = (searcher.space.id, at)
        if key not in self._samples:
            self._samples[key] = self._read(searcher, at)
        return self._samples[key]

    def _read(self, searcher: Searcher, width: int) -> dict[str, Matrix]:
        column = embedding_column(width)
        table = self.reader.segments(searcher.corpus, searcher.space.id)
        chosen = f"{any_of(self._sampled)} AND ordinal < {_FIRST}"
        rows = table.to_table(columns=["modality", column], filter=chosen)
        flat = rows[column].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = np.asarray(flat.reshape(-1, width), np.float32)
        kinds = np.array(rows["modality"].to_pylist(), str)
        return {_ALL: vectors, **{kind: vectors[kinds == kind] for kind in np.unique(kinds).tolist()}}

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
    score = maps.get(hit.modality, maps[_ALL])([hit.score])
    return replace(hit, score=float(score[0]))


def _best(hit: Hit) -> tuple[float, str]:
    return -hit.score, hit.uri
