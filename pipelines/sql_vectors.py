"""What `embed`, `embed_image` and `vector_search` give in SQL, by the model that made the vectors they meet (I4)."""

from __future__ import annotations

from collections.abc import Collection

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.lake.singles import singles
from pipelines.query import Query, Searcher, model_of
from pipelines.reader import LakeReader
from schemas.errors import ModelError, UsageError
from schemas.sql import Call, Embed, EmbedImage, VectorSearch

SpaceOf = tuple[str, str]
"""A corpus, and one of its spaces."""


class Vectors:
    """Runs calls, keeps what came of them in a connection, and loads each model once, when a call needs it."""

    def __init__(
        self,
        reader: LakeReader,
        connection: duckdb.DuckDBPyConnection,
        corpus: str | None,
        model: str | None,
        files: bool,
    ) -> None:
        self._reader = reader
        self._connection = connection
        self._corpus = corpus
        self._model = model
        self._files = files
        self._searchers: dict[SpaceOf, Searcher] = {}
        self._made = 0
        self._tables: list[str] = []

    def forget(self) -> None:
        """Drop the tables of earlier searches."""
        for name in self._tables:
            self._connection.unregister(name)
        self._tables.clear()

    def answer(self, call: Call, named: Collection[SpaceOf]) -> str:
        """Run a call of a statement that names the views of these spaces.

        Returns:
            the name of the variable, or of a search's table, that holds what came of it.

        Raises:
            ModelError: the model cannot be loaded, or no vector that the statement names is of it.
            UsageError: a width, task, filter or file that cannot be used.
            LakeError: an unknown corpus, or none named where there are several.
        """
        if EmbedImage in (type(call), type(getattr(call, "query", None))) and not self._files:
            raise UsageError("SQL: embed_image() reads a file, which statements may not here")
        if isinstance(call, VectorSearch):
            return self._table(self._search(call))
        searcher = self._searcher(self._space(call.corpus, named))
        return self._variable(searcher.at(self._vector(searcher, call), call.width))

    def _search(self, call: VectorSearch) -> pa.Table:
        name, entry = self._reader.corpus(call.corpus)
        searcher = self._searcher((name, entry.live))
        asked = Embed(text=call.query) if isinstance(call.query, str) else call.query
        if asked.width or asked.corpus:
            raise UsageError(
                "SQL: vector_search(): width and corpus are its own arguments, not those of embed()"
            )
        query = Query(parts=(), width=call.width, modality=call.modality, where=call.filter, limit=call.k)
        return singles(searcher.nearest_rows(self._vector(searcher, asked), query, named="SQL: filter"))

    def _vector(self, searcher: Searcher, call: Embed | EmbedImage) -> npt.NDArray[np.float32]:
        """A unit vector `[dim]`."""
        if isinstance(call, Embed):
            return searcher.embed((("text", call.text),), call.task)
        return searcher.embed((("image", call.path),))

    def _space(self, corpus: str | None, named: Collection[SpaceOf]) -> SpaceOf:
        makers = {self._maker(space) for space in named}
        if corpus is None and len(makers) == 1:
            return min(named)
        if corpus is None and self._corpus is None and makers:
            raise ModelError(
                "the statement names vectors of several models: say which with embed(..., corpus := 'NAME')"
            )
        name, entry = self._reader.corpus(corpus or self._corpus)
        found = (name, entry.live)
        if makers and self._maker(found) not in makers:
            raise ModelError(
                f"embed() by the model of corpus '{name}', but no table of the statement holds vectors of it: "
                f"vectors of two models cannot be compared"
            )
        return found

    def _maker(self, space: SpaceOf) -> tuple[str, str]:
        card = self._reader.space(*space).card
        return card.weights_digest, card.preprocessing

    def _searcher(self, space: SpaceOf) -> Searcher:
        if space not in self._searchers:
            spec = model_of(self._reader, space[0], self._model, space[1])
            self._searchers[space] = Searcher(self._reader, space[0], spec, space[1])
        return self._searchers[space]

    def _table(self, rows: pa.Table) -> str:
        name = self._name()
        self._connection.register(name, rows)
        self._tables.append(name)
        return name

    def _variable(self, vector: npt.NDArray[np.float32]) -> str:
        name, width = self._name(), len(vector)
        values = pa.FixedSizeListArray.from_arrays(pa.array(vector), width)
        self._connection.register(name, pa.table({"vector": values}))
        self._connection.execute(f"SET VARIABLE {name} = (FROM {name})")
        self._connection.unregister(name)
        return name

    def _name(self) -> str:
        self._made += 1
        return f"__embedlake_{self._made}"
