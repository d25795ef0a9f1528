"""What an export holds: its vector columns, and the manifest that says which files they are in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import pyarrow as pa
from pydantic import AwareDatetime

from schemas.card import Frozen
from schemas.space import Space, embedding_column

EXPORT_KEY = b"embedlake.export"
FORMAT: Literal[1] = 1
_SCALE = "_scale"


class DType(StrEnum):
    """The value type of exported vectors.

    `int8` is symmetric with one scale for each vector: `value = int8 * scale`, scale = max |value| / 127. The cosine
    does not depend on the scale, so it can be taken of the int8 values as they are.
    """

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    INT8 = "int8"


class Tool(StrEnum):
    """What can read a lake, an export, or both."""

    DUCKDB = "duckdb"
    POLARS = "polars"
    PANDAS = "pandas"
    PYARROW = "pyarrow"
    LANCEDB = "lancedb"
    DATAFUSION = "datafusion"
    SPARK = "spark"
    BIGQUERY = "bigquery"


VALUE_TYPES = {DType.FLOAT32: pa.float32(), DType.FLOAT16: pa.float16(), DType.INT8: pa.int8()}


def scale_column(width: int) -> str:
    """The name of the column with the scales of the int8 vectors of one width."""
    return f"{embedding_column(width)}{_SCALE}"


def vector_fields(widths: Sequence[int], dtype: DType) -> list[pa.Field]:
    """The exported columns of each width: its vectors, and of int8 ones their scales."""
    fields = []
    for width in widths:
        fields.append(pa.field(embedding_column(width), pa.list_(VALUE_TYPES[dtype], width)))
        if dtype is DType.INT8:
            fields.append(pa.field(scale_column(width), pa.float32()))
    return fields


class ExportSpec(Frozen):
    """What every file of an export has in common: a target holds one of these and never two."""

    corpus: str
    space: str
    widths: tuple[int, ...]
    dtype: DType
    partition: str | None = None


class Source(Frozen):
    """Which state of a lake was exported.

    `entry` and `digest` (sha256) are the catalog's entry that was read: row ids of a later state mean the same rows
    when that entry is still there and the space was not dropped since.
    """

    lake: str
    entry: int
    digest: str
    version: int


class Stamp(Frozen):
    """What a collection of a vector database says of itself."""

    spec: ExportSpec
    source: Source


class ExportedFile(Frozen):
    """One Parquet file of an export; `path` is below the target."""

    path: str
    rows: int
    bytes: int


class ExportManifest(Frozen):
    """Export number `number` of a target: what it holds is exactly these files, which have these `columns`."""

    format: Literal[1] = FORMAT
    number: int
    spec: ExportSpec
    source: Source | None = None
    columns: tuple[str, ...] = ()
    files: tuple[ExportedFile, ...] = ()
    exported_at: AwareDatetime


def export_schema(table: pa.Schema, space: Space, spec: ExportSpec) -> pa.Schema:
    """A space's table as it is exported: its other columns in their order, then its vectors as `spec` has them.

    Args:
        table: the schema of the space's Lance table.
        space: what made its vectors.
        spec: which widths, of which type.
    """
    stored = {embedding_column(width) for width in space.widths}
    plain = [field.with_metadata(None) for field in table if field.name not in stored]
    made = pa.schema([*plain, *vector_fields(spec.widths, spec.dtype)])
    told = {"format": FORMAT, "corpus": spec.corpus, "dtype": spec.dtype}
    return made.with_metadata({**space.metadata(), EXPORT_KEY: json.dumps(told).encode()})
