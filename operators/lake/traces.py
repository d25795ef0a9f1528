"""Find assets in the files that runs leave beside the tables, and take them out."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from operators.lake.files import delete
from operators.lake.layout import Layout
from operators.lake.receipts import Receipts, Staged
from operators.lake.runs import RunFolder
from operators.lake.tables import Table
from operators.storage import Storage

_ERASED = "[erased]"
_PARQUET = ".parquet"


@dataclass(frozen=True)
class Traces:
    """Assets by their URIs. A text that names one gets `[erased]` instead; a row of one goes."""

    uris: list[str]

    @cached_property
    def values(self) -> pl.Series:
        """The URIs as one list, for `is_in`."""
        return pl.Series(self.uris, dtype=pl.String).implode()

    @cached_property
    def patterns(self) -> list[str]:
        """The URIs as they are, and as JSON writes them; the longest first, for one may begin another."""
        return sorted({*self.uris, *(json.dumps(uri)[1:-1] for uri in self.uris)}, key=len, reverse=True)

    def scrub(self, layout: Layout, corpus: str, run: RunFolder, storage: Storage) -> int:
        """Delete the run's receipts that name one of the assets, and take them out of its other files.

        A run that is continued embeds the receipts' other assets again.

        Returns:
            how many receipts were deleted.
        """
        receipts = Receipts(layout.receipts(corpus, run.run_id), storage)
        named = [staged.uri for staged in receipts.staged() if self.in_receipt(staged)]
        delete(storage, named)
        apart = {file.uri for file in run.receipts}
        for file in run.files:
            if file.uri in apart:
                continue
            body = storage.read(file.uri)
            clean = self.without(file.uri, body)
            if clean != body:
                storage.put(file.uri, clean)
        return len(named)

    def found_in(self, layout: Layout, corpus: str, run: RunFolder, storage: Storage) -> bool:
        """Whether a file of the run names one of the assets."""
        receipts = Receipts(layout.receipts(corpus, run.run_id), storage)
        if any(self.in_receipt(staged) for staged in receipts.staged()):
            return True
        apart = {file.uri for file in run.receipts}
        bodies = ((f.uri, storage.read(f.uri)) for f in run.files if f.uri not in apart)
        return any(self.without(name, body) != body for name, body in bodies)

    def in_staged(self, table: Table, name: str) -> bool:
        """Whether a staged data file of a table holds a row of one of the assets."""
        return bool(table.staged_uris(name).is_in(self.values).any())

    def in_receipt(self, staged: Staged) -> bool:
        """Whether a receipt names one of the assets."""
        return self._naming(staged.rows).height > 0

    def without(self, name: str, body: bytes) -> bytes:
        """A file's content without the assets; the same bytes when it does not name them."""
        if name.endswith(_PARQUET):
            return self._without_rows(body)
        text = pl.Series([body.decode(errors="replace")])
        if not text.str.contains_any(self.patterns).any():
            return body
        return str(self.redacted(text).item()).encode()

    def redacted(self, texts: pl.Series) -> pl.Series:
        """The texts [n] with `[erased]` in place of each URI."""
        return texts.str.replace_many(self.patterns, [_ERASED], leftmost=True)

    def _without_rows(self, body: bytes) -> bytes:
        table = pl.read_parquet(io.BytesIO(body))
        if not self._naming(table).height:
            return body
        texts = [name for name, kind in table.schema.items() if kind == pl.String]
        kept = table.filter(~pl.col("uri").is_in(self.values)) if "uri" in texts else table
        out = io.BytesIO()
        kept.with_columns(self.redacted(kept[name]) for name in texts).write_parquet(out)
        return out.getvalue()

    def _naming(self, table: pl.DataFrame) -> pl.DataFrame:
        texts = [
            n for n, kind in table.schema.items() if kind == pl.String and table[n].count() and n != "uri"
        ]
        named = [pl.col("uri").is_in(self.values)] if "uri" in table.columns else []
        named += [pl.col(name).str.contains_any(self.patterns) for name in texts]
        return table.filter(pl.any_horizontal(*named)) if named else table.clear()
