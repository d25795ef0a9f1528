"""Vectors that are carried over instead of made again: moved assets, and assets whose metadata was edited."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from operators.lake.tables import Table
from operators.stage import metadata_column
from pipelines.donors import donor_key
from schemas.tables import ASSETS, EMBEDDED, METADATA_DIGEST, SEGMENT

_ROWS = 1024
_SEGMENT_NAMES = frozenset(field.name for field in SEGMENT)
_OUTCOMES = pa.schema([field for field in ASSETS if field.name != "run_id"])


@dataclass(frozen=True, slots=True)
class Carried:
    """Final rows of the carried assets (without `run_id`), and the staged fragments of their segments."""

    assets: pa.Table
    fragments: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """Copies segments inside a space at the version that a run is based on."""

    space: Table
    space_version: int
    assets: Table
    assets_version: int
    run_id: str

    def carry(self, moved: pl.DataFrame, listing: pa.Table) -> Carried:
        """Give each asset of `listing` the segments of its donor, under its own uri and with its own metadata.

        Args:
            moved: `uri` and `content_hash` of assets whose donor is an embedded asset with that hash and suffix;
                those of `listing` that are not in it are their own donor.
            listing: rows of the plan, with the `container` of what lies in an archive.
        """
        if not listing.num_rows:
            return Carried(_OUTCOMES.empty_table(), [])
        known = pl.DataFrame(pl.from_arrow(self.assets.open(self.assets_version).to_table()))
        pairs = self._pairs(known, moved, listing)
        reader = pa.RecordBatchReader.from_batches(*self._rows(pairs, listing))
        return Carried(self._outcomes(known, pairs, listing), self.space.stage(reader))

    def _pairs(self, known: pl.DataFrame, moved: pl.DataFrame, listing: pa.Table) -> pl.DataFrame:
        """`row` in the listing, and the `donor` whose segments it takes."""
        rows = pl.DataFrame({"uri": pl.Series(listing["uri"])}).with_row_index("row")
        takers = moved.select("uri", key=donor_key())
        donors = (
            known.filter(pl.col("status") == EMBEDDED)
            .with_columns(key=donor_key())
            .join(takers, on="key", how="semi")
            .group_by("key")
            .agg(pl.col("uri").min().alias("donor"))
        )
        found = rows.join(takers.join(donors, on="key"), on="uri", how="left", maintain_order="left")
        return found.select("row", pl.coalesce("donor", "uri").alias("donor"))

    def _rows(self, pairs: pl.DataFrame, listing: pa.Table) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        dataset = self.space.open(self.space_version)
        schema = dataset.schema

        def batches() -> Iterator[pa.RecordBatch]:
            offsets, rows = _matches(dataset, pairs)
            for start in range(0, len(offsets), _ROWS):
                taken = dataset.take(offsets[start : start + _ROWS])
                own = listing.take(pa.array(rows[start : start + _ROWS]))
                yield from pa.table(
                    [self._column(field, taken, own) for field in schema], schema=schema
                ).to_batches()

        return schema, batches()

    def _column(self, field: pa.Field, taken: pa.Table, own: pa.Table) -> pa.ChunkedArray | pa.Array:
        if field.name == "uri":
            return own["uri"]
        if field.name == "run_id":
            return pa.array([self.run_id] * own.num_rows, pa.string())
        if field.name in _SEGMENT_NAMES or field.name.startswith("embedding_"):
            return taken[field.name]
        return metadata_column(own, field)

    def _outcomes(self, known: pl.DataFrame, pairs: pl.DataFrame, listing: pa.Table) -> pa.Table:
        own = ("uri", "source", "container", "size", "etag", "mtime", METADATA_DIGEST)
        rows = pl.DataFrame(pl.from_arrow(listing.select(own))).with_row_index("row")
        kept = [name for name in ASSETS.names if name not in (*own, "run_id")]
        # A donor that could not be read lately says so in its own row.
        known = known.with_columns(error_stage=None, error_code=None, error_detail=None)
        donor = pairs.join(known.select(pl.col("uri").alias("donor"), *kept), on="donor", how="left")
        return rows.join(donor, on="row").select(_OUTCOMES.names).to_arrow().cast(_OUTCOMES)


def _matches(
    dataset: pa.dataset.Dataset, pairs: pl.DataFrame
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Offsets in the dataset of the donors' segments, and the listing's row that takes each."""
    found = [pl.DataFrame(schema={"offset": pl.Int64, "row": pl.Int64})]
    start = 0
    for batch in dataset.scanner(columns=["uri"], scan_in_order=True).to_batches():
        offsets = np.arange(start, start + batch.num_rows)
        uris = pl.DataFrame({"donor": pl.Series(batch["uri"]), "offset": offsets})
        found.append(uris.join(pairs, on="donor").select("offset", pl.col("row").cast(pl.Int64)))
        start += batch.num_rows
    table = pl.concat(found).sort("row", "offset")
    return table["offset"].to_numpy(), table["row"].to_numpy()
