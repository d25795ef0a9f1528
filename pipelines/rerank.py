"""Hits of the old space, embedded by the new model: of their text, or of their source, read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.model.batching import embed_in_batches
from operators.part_columns import from_arrow
from operators.parts import Part, PartKind
from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from pipelines.beside import grants_of
from pipelines.query import Hit, Searcher, any_of
from pipelines.reader import LakeReader
from schemas.card import Modality, Role
from schemas.errors import AssetError
from schemas.tables import LISTING, SEGMENT_KIND

_TOKEN_BUDGET = 16_384
_LISTED = [name for name in LISTING.names if name != "inline"]
_LINE = "#"
Vector = npt.NDArray[np.float32]
Prepared = tuple[tuple[Part, ...], int]
"""Model-ready parts, and how many tokens they take."""


class Reranker:
    """Gives hits of one space the scores that the model of another gives what they show."""

    def __init__(self, reader: LakeReader, old: Searcher, new: Searcher, allow: tuple[str, ...] = ()) -> None:
        self._reader, self._old, self._new, self._allow = reader, old, new, allow
        self._preparer = new.spec.preparer(Role.DOCUMENT)

    def __call__(self, hits: Sequence[Hit], vector: Vector, width: int | None = None) -> list[Hit]:
        """The hits in their order, each with the cosine of its content with the new model's query.

        One that cannot be read or embedded now keeps its score, and so does what is not text and lies in an archive
        or a manifest.

        Args:
            hits: of the old space.
            vector: the query's, `[dim]`, by the new model.
            width: of the new space, the full one when None.

        Raises:
            SourceError: storage refuses the credentials.
        """
        inputs = list(self._inputs(hits))
        if not inputs:
            return list(hits)
        dim, query = self._new.width(width), self._new.at(vector, width)
        rows, tokens = [one[0] for _, one in inputs], [one[1] for _, one in inputs]
        cut = embed_in_batches(self._new.engine.embed, rows, tokens, _TOKEN_BUDGET)[:, :dim]
        scores = cut @ query / np.maximum(np.linalg.norm(cut, axis=1), 1e-12)
        best: dict[int, float] = {}
        for (at, _), score in zip(inputs, scores.tolist(), strict=True):
            best[at] = max(score, best.get(at, -1.0))
        return [replace(hit, score=best.get(at, hit.score)) for at, hit in enumerate(hits)]

    def _inputs(self, hits: Sequence[Hit]) -> Iterator[tuple[int, Prepared]]:
        """What stands for each hit, by its index; an asset that the new recipe cuts finer may have several."""
        others = {hit.uri for hit in hits if not _is_text(hit)}
        segments = self._segments(sorted(others)) if others else {}
        for at, hit in enumerate(hits):
            if not _is_text(hit):
                yield from ((at, one) for row, one in segments.get(hit.uri, ()) if _overlap(row, hit.row))
                continue
            with suppress(AssetError):
                (parts,), (tokens,) = self._preparer.prepare([(Part(PartKind.TEXT, text=hit.text),)])
                yield at, (parts, tokens)

    def _segments(self, uris: list[str]) -> dict[str, list[tuple[dict[str, Any], Prepared]]]:
        """Assets read from their sources and cut by the new recipe: each segment's row, and its input."""
        table = self._reader.assets(self._old.corpus, self._old.space.id).to_table(filter=any_of(uris))
        listing = table.filter(pc.and_(pc.is_null(table["container"]), pc.invert(_lines(table)))).select(
            _LISTED
        )
        listing = listing.append_column(
            LISTING.field("inline"), pa.nulls(listing.num_rows, pa.large_binary())
        )
        recipe = self._new.space.recipe
        fetcher = Fetcher(
            storage=self._reader.storage,
            grants=grants_of(listing, self._allow),
            max_bytes=recipe.max_asset_bytes,
        )
        found: dict[str, list[tuple[dict[str, Any], Prepared]]] = {}
        for block in ReadAssets(fetcher=fetcher, spec=self._new.spec, recipe=recipe)(listing):
            rows = block.filter(pc.equal(block["kind"], SEGMENT_KIND))
            plain = rows.drop_columns(["parts"]).to_pylist()
            for row, parts in zip(plain, from_arrow(rows["parts"]), strict=True):
                found.setdefault(row["uri"], []).append((row, (parts, row["tokens"])))
        return found


def _is_text(hit: Hit) -> bool:
    return hit.modality == Modality.TEXT and bool(hit.text)


def _lines(assets: pa.Table) -> pa.ChunkedArray:
    pairs = zip(assets["uri"].to_pylist(), assets["source"].to_pylist(), strict=True)
    return pa.chunked_array([pa.array([uri.startswith(source + _LINE) for uri, source in pairs], pa.bool_())])


def _overlap(new: dict[str, Any], old: dict[str, Any]) -> bool:
    """Whether two segments of an asset, each cut by its own recipe, show the same place of it."""
    if new["page"] != old["page"]:
        return False
    if new["start_ms"] is None or old["start_ms"] is None:
        return True
    return bool(new["start_ms"] < old["end_ms"] and old["start_ms"] < new["end_ms"])
