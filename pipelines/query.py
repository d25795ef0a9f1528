"""Search a lake: one query of any mixture of parts, embedded by the model that made the vectors."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.decode.document import decode_document
from operators.lake.filters import check_whole
from operators.model.contract import Engine, ModelSpec, Preparer
from operators.model.registry import resolve
from operators.parts import Segment
from operators.storage import explain, explained, normalize
from pipelines.finding import FUSED, SCORE, Find, Stage, Wanted, cut
from pipelines.locators import locate
from pipelines.reader import LakeReader
from schemas.card import Modality, Role
from schemas.errors import AssetError, EmbedlakeError, LakeError, ModelError, SourceError, UsageError
from schemas.space import Space

_FILTER_MARKS = ("Invalid user input", "filter expression")
"""What Lance says when a filter is at fault: it cannot be planned, or fails on a row."""


@dataclass(frozen=True, slots=True)
class Hit:
    """One segment that a search found in a space; `score` is the cosine with the query.

    `fused` is what a hybrid search orders by: reciprocal ranks of the cosine and of the words, added.
    """

    uri: str
    modality: str
    score: float
    where: str
    text: str | None
    row: dict[str, Any]
    space: str
    fused: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Parts in the caller's order; several parts become one fused vector.

    Each part is `("text", words)` or `("image" | "audio" | "video", uri)`. `exact` compares every row and uses no index
    over vectors; `hybrid` fuses the order with that of the rows that have the words; `by_asset` gives each asset's best
    segment alone.
    """

    parts: tuple[tuple[str, str], ...]
    width: int | None = None
    modality: Modality | None = None
    where: str | None = None
    limit: int = 10
    exact: bool = False
    hybrid: bool = False
    by_asset: bool = False


class Searcher:
    """A model loaded once for many queries over one space of a corpus, the live one when none is named."""

    def __init__(
        self, reader: LakeReader, corpus: str | None, spec: ModelSpec, space: str | None = None
    ) -> None:
        """Load the model.

        Raises:
            ModelError: it is not the model that made the corpus' vectors (I4).
        """
        self.reader = reader
        self.corpus, _ = reader.corpus(corpus)
        self.space = reader.space(self.corpus, space)
        check_model(self.space, spec, self.corpus)
        self.spec = spec
        self.preparer: Preparer = spec.preparer(Role.QUERY)
        self.engine: Engine = spec.load()

    def embed(self, parts: Sequence[tuple[str, str]], task: str = Role.QUERY) -> npt.NDArray[np.float32]:
        """The query's vector at the full width, float32 `[dim]`, unit length.

        Raises:
            UsageError: a part cannot be decoded or the model does not take it, or its card has no such task.
            SourceError: a file cannot be read.
        """
        preparer = self.preparer if task == Role.QUERY else self._preparer(task)
        recipe, card = self.space.recipe, self.space.card
        return self.vector(
            decode_document(document_of(parts), recipe, card, preparer.counter, self._open), preparer
        )

    def vector(
        self, segments: Iterable[Segment], preparer: Preparer | None = None
    ) -> npt.NDArray[np.float32]:
        """As `embed`, for the one segment that a query's document was decoded to.

        Raises:
            UsageError: it cannot be decoded or the model does not take it.
        """
        try:
            inputs, _ = (preparer or self.preparer).prepare([segment.parts for segment in segments])
        except AssetError as error:
            raise UsageError(f"cannot embed the query: {error.detail}") from error
        vector = self.engine.embed(inputs)[0]
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    def search(self, query: Query, stages: list[Stage] | None = None) -> list[Hit]:
        """The best segments, best first; what it took is appended to `stages`.

        Raises:
            UsageError: an unknown width, or a filter that is not SQL over the table's columns.
            LakeError: the lake cannot be read.
        """
        started = time.perf_counter()
        vector = self.embed(query.parts)
        if stages is not None:
            took = 1000 * (time.perf_counter() - started)
            stages.append(Stage("embed", f"the query, by {self.space.card.model_id}", 1, 0, took))
        return self.nearest(vector, query, stages=stages)

    def nearest(
        self,
        vector: npt.NDArray[np.float32],
        query: Query,
        further: str | None = None,
        stages: list[Stage] | None = None,
    ) -> list[Hit]:
        """As `search`, for a vector `[dim]` that `embed` returned; `further` is one more filter."""
        found = self._nearest(vector, query, further, stages)
        return [_hit(row, self.space.id) for row in found.to_pylist()]

    def nearest_rows(self, vector: npt.NDArray[np.float32], query: Query, named: str = "--where") -> pa.Table:
        """As `nearest`, as a table of the space's columns and then `score`, which takes the place of one so called.

        `named` is what the caller calls the query's filter.
        """
        found = self._nearest(vector, query, named=named, vectors=True)
        kept = [name for name in found.column_names if name not in ("score", SCORE, FUSED)]
        return found.select([*kept, SCORE]).rename_columns([*kept, "score"])

    def _nearest(
        self,
        vector: npt.NDArray[np.float32],
        query: Query,
        further: str | None = None,
        stages: list[Stage] | None = None,
        named: str = "--where",
        vectors: bool = False,
    ) -> pa.Table:
        wanted = Wanted(
            vector=vector,
            width=self.width(query.width),
            limit=query.limit,
            words=_words(query) if query.hybrid else None,
            filter=" AND ".join(f for f in (filter_of(query.where, query.modality), further) if f) or None,
        )
        state = self.reader.catalog.corpora[self.corpus].spaces[self.space.id]
        table = self.reader.segments(self.corpus, self.space.id)
        find = Find(table, None if query.exact else state.finder, vectors)
        try:
            if query.where:
                check_whole(table, query.where, named)
            found = find.of_assets(wanted) if query.by_asset else find(wanted)
        except (ValueError, OSError) as error:
            raise self._refusal(query, error, named) from error
        if stages is not None:
            stages.extend(find.stages)
        return found

    def width(self, asked: int | None) -> int:
        """The width that is asked for, the full one when None.

        Raises:
            UsageError: the space does not have it.
        """
        return self.space.width(asked)

    def at(self, vector: npt.NDArray[np.float32], width: int | None) -> npt.NDArray[np.float32]:
        """A query's vector `[dim]` at a width of the space, `[width]`, a unit vector as its column has them."""
        return cut(vector, self.width(width))

    def _open(self, reference: str) -> BinaryIO:
        uri = normalize(reference)
        with explained(uri, SourceError):
            return io.BytesIO(self.reader.storage.read(uri))

    def _preparer(self, task: str) -> Preparer:
        known = dict.fromkeys((*Role, *self.spec.card.prompts))
        if task not in known:
            raise UsageError(f"task '{task}' is not one of the model's: {', '.join(known)}")
        return self.spec.preparer(task)

    def _refusal(self, query: Query, error: Exception, named: str) -> EmbedlakeError:
        if query.where and any(mark in str(error) for mark in _FILTER_MARKS):
            return UsageError(f"{named} '{query.where}': {reason(error)}")
        table = self.reader.layout.space(self.corpus, self.space.id)
        return explain(OSError(reason(error)), table, LakeError)


def model_of(reader: LakeReader, corpus: str, named: str | None, space: str | None = None) -> ModelSpec:
    """The spec of the model that a query names, else of the one that made the space, or is making it.

    Raises:
        ModelError: it cannot be found; a corpus knows a local model's name but not its folder.
    """
    entry = reader.catalog.corpora[corpus]
    backfill = entry.spaces[space or entry.live].backfill
    if named is not None or backfill is not None:
        return resolve(named or str(backfill and backfill.model))
    made_by = reader.space(corpus, space).card.model_id
    try:
        return resolve(made_by)
    except ModelError as error:
        if "/" in made_by:
            raise ModelError(
                f"corpus '{corpus}' was made by model '{made_by}': {error}; name the model's folder with --model"
            ) from error
        raise ModelError(
            f"corpus '{corpus}' was made by the local model '{made_by}': name its folder with --model"
        ) from error


def check_model(space: Space, spec: ModelSpec, corpus: str) -> None:
    """Refuse a query by another model than the one that made the vectors.

    Raises:
        ModelError: names both.
    """
    if (
        spec.card.weights_digest != space.card.weights_digest
        or spec.card.preprocessing != space.card.preprocessing
    ):
        raise ModelError(
            f"corpus '{corpus}' was embedded by {space.card.model_id} ({space.card.weights_digest[:12]}), the query "
            f"by {spec.card.model_id} ({spec.card.weights_digest[:12]}): vectors of two models cannot be compared; "
            f"name the corpus' model with --model"
        )


def any_of(uris: Iterable[str]) -> str:
    """A filter of rows by their assets."""
    return "uri IN (" + ", ".join("'" + uri.replace("'", "''") + "'" for uri in uris) + ")"


def document_of(parts: Iterable[tuple[str, str]]) -> bytes:
    """A query's parts as an interleaved document in JSON; the media of it are references."""
    keys = ((kind, "text" if kind == "text" else "uri", value) for kind, value in parts)
    return json.dumps({"parts": [{"type": kind, key: value} for kind, key, value in keys]}).encode()


def filter_of(where: str | None, modality: Modality | None) -> str | None:
    """A person's filter and that of a modality as one, None when there is neither."""
    filters = [f"({where})"] if where else []
    if modality:
        filters.append(f"modality = '{modality.value}'")
    return " AND ".join(filters) or None


def _words(query: Query) -> str:
    words = " ".join(value for kind, value in query.parts if kind == "text")
    if not words.strip():
        raise UsageError("--hybrid fuses with the words of the query, and there are none")
    return words


def reason(error: BaseException) -> str:
    """What Lance says, on one line, without where in its sources."""
    return " ".join(str(error).split()).split(", /", 1)[0].split(" rust/", 1)[0][:300]


def _hit(row: dict[str, Any], space: str) -> Hit:
    score, fused = row.pop(SCORE), row.pop(FUSED, None)
    return Hit(row["uri"], row["modality"], score, locate(row), row["text"], row, space, fused)
