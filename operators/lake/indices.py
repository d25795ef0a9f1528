"""A space's indices: over one vector column, over its texts, and over what people filter by."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import lance
import pyarrow as pa

from schemas.space import VECTORS, IndexKind, embedding_column
from schemas.tables import SEGMENT

_ROWS_A_PARTITION = 256
"""At least so many rows train one partition."""
_HNSW_ROWS = 1 << 20
"""A graph of more rows than this is slow to build and to load."""
WORDS_MIB = 2048
"""To build an index over words with, of all cores together; unasked Lance takes as much for each."""
_FILTERED = frozenset({"uri", "segment_id", "run_id"})
_CONTRACT = frozenset(field.name for field in SEGMENT)
_ORDERED = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_temporal,
)


def partitions(rows: int, kind: IndexKind) -> int:
    """How many partitions an index over so many rows has."""
    most = max(1, rows // _ROWS_A_PARTITION)
    wanted = math.ceil(rows / _HNSW_ROWS) if kind == "IVF_HNSW_SQ" else math.isqrt(rows)
    return max(1, min(most, wanted))


def default_kind(width: int) -> IndexKind:
    """The kind for a width: the quickest to build and to read, which wants whole bytes of bits."""
    return "IVF_PQ" if width % 8 else "IVF_RQ"


def index_vectors(table: lance.LanceDataset, width: int, kind: IndexKind) -> None:
    """Build the index over one width's column, in place of one that is there."""
    table.create_index(
        embedding_column(width),
        kind,
        name=index_name(embedding_column(width)),
        metric="cosine",
        replace=True,
        num_partitions=partitions(table.count_rows(), kind),
        num_sub_vectors=_sub_vectors(width) if kind == "IVF_PQ" else None,
    )


def index_columns(table: lance.LanceDataset) -> None:
    """Build the indices over the texts' words, the modality, and every column that a filter may name."""
    table.create_scalar_index(
        "text",
        "INVERTED",
        name=index_name("text"),
        replace=True,
        with_position=False,
        memory_limit=WORDS_MIB,
    )
    table.create_scalar_index("modality", "BITMAP", name=index_name("modality"), replace=True)
    for field in table.schema:
        if kind := _kind(field):
            table.create_scalar_index(field.name, kind, name=index_name(field.name), replace=True)


def drop_indices(table: lance.LanceDataset, columns: Iterable[str]) -> None:
    """Drop the indices over these columns, where there are some."""
    there = {index.name for index in table.describe_indices()}
    for name in sorted({index_name(column) for column in columns} & there):
        table.drop_index(name)


def indexed_columns(table: lance.LanceDataset) -> list[str]:
    """The columns that have an index."""
    return sorted(index.field_names[0] for index in table.describe_indices())


def index_name(column: str) -> str:
    """What the index over a column is called."""
    return f"{column}_idx"


def _kind(field: pa.Field) -> Literal["BITMAP", "BTREE", "LABEL_LIST"] | None:
    """The index for a column that a filter may name: those of the contract that name things, and the user's own."""
    own = field.name not in _CONTRACT and not field.name.startswith(VECTORS)
    if field.name not in _FILTERED and not own:
        return None
    if pa.types.is_boolean(field.type):
        return "BITMAP"
    if pa.types.is_list(field.type) and pa.types.is_string(field.type.value_type):
        return "LABEL_LIST"
    return "BTREE" if any(is_one(field.type) for is_one in _ORDERED) else None


def _sub_vectors(width: int) -> int:
    """Codes of a product-quantised vector: one for each 4 dimensions where that divides the width, else for 2 or 1."""
    return next(width // size for size in (4, 2, 1) if width % size == 0)
