"""One listing of several sources: united, with a digest of each asset's metadata, and cut to a selection."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import polars as pl
import pyarrow as pa

from schemas.config import Selection
from schemas.errors import SourceError
from schemas.tables import LISTING, METADATA_DIGEST


def combine(listings: list[pa.Table]) -> pa.Table:
    """One listing of several sources, with the `metadata_digest` of each row.

    Raises:
        SourceError: an object is in two of them, or two manifests type a metadata column differently.
    """
    try:
        table = pa.concat_tables([_flat(t) for t in listings], promote_options="default")
    except pa.ArrowException as error:
        raise SourceError(f"the manifests' metadata columns do not fit together: {error}") from error
    uris = pl.Series(table["uri"])
    if repeated := uris.filter(uris.is_duplicated()).head(1).to_list():
        raise SourceError(f"{repeated[0]} is in more than one source: name it once")
    names = [name for name in table.column_names if name not in LISTING.names]
    if not names:
        return table.append_column(METADATA_DIGEST, pa.nulls(table.num_rows, pa.string()))
    columns = [table[name].combine_chunks() for name in names]
    metadata = pa.StructArray.from_arrays(columns, fields=[table.schema.field(name) for name in names])
    listing = table.select(LISTING.names).append_column("metadata", metadata)
    return listing.append_column(METADATA_DIGEST, _digests(metadata))


def _flat(listing: pa.Table) -> pa.Table:
    if "metadata" not in listing.column_names:
        return listing
    metadata = listing["metadata"].combine_chunks()
    flat = listing.drop_columns(["metadata"])
    for index, field in enumerate(metadata.type):
        flat = flat.append_column(field, metadata.field(index))
    return flat


def _digests(metadata: pa.StructArray) -> pa.Array:
    """Of each row's values by name; a null value is no value, so a further column changes no old row."""
    frame = pl.DataFrame({name.name: metadata.field(i) for i, name in enumerate(metadata.type)})
    values = [
        pl.when(pl.col(name).is_not_null()).then(pl.struct(name).struct.json_encode())
        for name in sorted(frame.columns)
    ]
    texts = frame.select(pl.concat_str(values, separator="\n", ignore_nulls=True)).to_series()
    return pa.array([_digest(text) for text in texts], pa.string())


def _digest(text: str) -> str | None:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest() if text else None


_URI = pl.col("uri")


@dataclass(frozen=True, slots=True)
class Selector:
    """A selection as Polars expressions over `uri` and `mtime`."""

    selection: Selection

    def by_name(self, uri: pl.Expr = _URI) -> pl.Expr:
        """Whether the globs and names select a URI."""
        included = [uri.str.contains(_pattern(glob)) for glob in self.selection.include]
        excluded = [uri.str.contains(_pattern(glob)) for glob in self.selection.exclude]
        chosen = pl.any_horizontal(*included) if included else pl.lit(True)
        if self.selection.only is not None:
            chosen &= uri.is_in(list(self.selection.only))
        return chosen & ~pl.any_horizontal(*excluded) if excluded else chosen

    @property
    def again(self) -> bool:
        """Whether what is selected is embedded again even if it has not changed."""
        return self.selection.full or self.selection.only is not None

    def by_time(self) -> pl.Expr:
        """Whether an asset is young enough; storage that tells no time selects all."""
        if self.selection.since is None:
            return pl.lit(True)
        return pl.col("mtime").ge(self.selection.since).fill_null(True)


def _pattern(glob: str) -> str:
    known = {"*": ".*", "?": "."}
    body = "".join(known.get(char) or re.escape(char) for char in glob)
    return f"(?s)(^|/){body.removeprefix('/') if glob.startswith('/') else body}$"
