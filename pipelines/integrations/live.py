"""One search for as long as a service runs: it follows the lake's nights and promotions."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from typing import Any

from operators.storage import Storage
from pipelines.query import Hit, Query, Searcher, model_of
from pipelines.reader import LakeReader

_APART = frozenset({"text", "segment_id", "run_id"})


@dataclass(frozen=True, slots=True)
class Found:
    """A segment for a framework: its text may be empty, its metadata has no nulls and no vectors."""

    segment_id: str
    text: str
    score: float
    metadata: dict[str, Any]

    @classmethod
    def of(cls, hit: Hit) -> Found:
        """A hit with its locator, score and origin as metadata."""
        row = {name: value for name, value in hit.row.items() if name not in _APART and value is not None}
        told = {"source": hit.uri, "where": hit.where, "score": hit.score, "space": hit.space}
        return cls(hit.row["segment_id"], hit.text or "", hit.score, {**row, **told})


class LiveSearch:
    """Searches by words what readers see when asked; one query at a time, from any thread.

    Each query reads the catalog. After a night it goes on with the loaded model; after a promotion it loads the new
    space's, which then has to be one that the lake names.
    """

    def __init__(
        self,
        lake: str,
        corpus: str | None,
        model: str | None,
        width: int | None,
        k: int,
        where: str | None,
        storage: Storage,
    ) -> None:
        """Open the lake and load its model.

        Raises:
            LakeError: there is no such lake or corpus.
            ModelError: the model cannot be loaded, or did not make the vectors.
            UsageError: the space has no such width.
        """
        self._lake, self._storage = lake, storage
        self._width, self._k, self._where = width, k, where
        self._lock = threading.Lock()
        reader = LakeReader.open(lake, storage)
        name, _ = reader.corpus(corpus)
        self._searcher = Searcher(reader, name, model_of(reader, name, model))
        self._searcher.width(width)

    def search(self, text: str) -> list[Found]:
        """The best segments, best first.

        Raises:
            UsageError: an empty text, a filter that is not SQL over the table's columns, or a width that the live
                space has no more.
            LakeError: the lake cannot be read.
            ModelError: the live space is of another model by now, which cannot be loaded.
        """
        with self._lock:
            self._follow()
            query = Query(parts=(("text", text),), width=self._width, where=self._where, limit=self._k)
            return [Found.of(hit) for hit in self._searcher.search(query)]

    def _follow(self) -> None:
        old = self._searcher
        reader = LakeReader.open(self._lake, self._storage)
        if reader.catalog.number == old.reader.catalog.number:
            return
        _, corpus = reader.corpus(old.corpus)
        if corpus.live == old.space.id:
            self._searcher = copy.copy(old)
            self._searcher.reader, self._searcher.space = reader, reader.space(old.corpus)
        else:
            self._searcher = Searcher(reader, old.corpus, model_of(reader, old.corpus, None))
