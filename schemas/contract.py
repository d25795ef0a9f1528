"""The tables of `schemas/CONTRACT.md`, made from the Arrow schemas themselves, so that the page cannot drift."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.card import Limits, Modality, ModelCard, TokenCosts
from schemas.export import EXPORT_KEY, DType, vector_fields
from schemas.recipe import Recipe
from schemas.space import METADATA_KEY, Space
from schemas.tables import ASSETS, space_schema

PAGE = Path(__file__).with_name("CONTRACT.md")
_BLOCK = re.compile(r"(<!-- (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WIDTH = 256
_STORED: tuple[pa.DataType, ...] = (
    pa.string(),
    pa.int32(),
    pa.int64(),
    pa.timestamp("ms", "UTC"),
    *(pa.list_(value, _WIDTH) for value in (pa.float32(), pa.float16(), pa.int8())),
)


def filled(page: str) -> str:
    """The page with each `<!-- name -->` block made anew."""
    made = {
        "segments": _columns(space_schema(_example())),
        "assets": _columns(ASSETS),
        "exported": _exported(),
        "types": _types(),
        "metadata": _metadata(),
    }
    return _BLOCK.sub(lambda found: f"{found[1]}{made[found[2]]}{found[3]}", page)


def _example() -> Space:
    card = ModelCard(
        model_id="example",
        weights_digest="0" * 64,
        family="example",
        modalities=(Modality.TEXT,),
        widths=(_WIDTH,),
        limits=Limits(tokens=1, text_tokens=1),
        token_costs=TokenCosts(image=0, frame=0, audio_per_second=0),
        preprocessing="1",
    )
    return Space(card=card, recipe=Recipe())


def _columns(schema: pa.Schema) -> str:
    rows = [(_named(field.name), _typed(field.type), "" if field.nullable else "never") for field in schema]
    return _table(("column", "Arrow type", "null"), rows)


def _exported() -> str:
    rows = []
    for dtype in DType:
        for field in vector_fields((_WIDTH,), dtype):
            rows.append((f"`--dtype {dtype}`", _named(field.name), _typed(field.type)))
    return _table(("export", "column", "Arrow type"), rows)


def _types() -> str:
    """What Parquet really holds of each Arrow type, read back from a file."""
    schema = pa.schema([pa.field(f"c{i}", kind) for i, kind in enumerate(_STORED)])
    file = io.BytesIO()
    pq.write_table(schema.empty_table(), file)
    found = pq.ParquetFile(file).schema
    rows = []
    for i, kind in enumerate(_STORED):
        column = found.column(i)
        logical = str(column.logical_type).partition(", is_from")[0].replace("String", "STRING")
        stored = (
            column.physical_type
            if logical == "None"
            else f"{column.physical_type}, {logical}{')' * (logical.count('(') - logical.count(')'))}"
        )
        where = f"LIST `{column.path.partition('.')[2]}` of {stored}" if "." in column.path else stored
        rows.append((_typed(kind), where))
    return _table(("Arrow type", "Parquet"), rows)


def _metadata() -> str:
    rows = [
        (f"`{METADATA_KEY.decode()}`", "Lance and Parquet", ", ".join(f"`{k}`" for k in _keys())),
        (f"`{EXPORT_KEY.decode()}`", "Parquet", "`format`, `corpus`, `dtype`"),
    ]
    return _table(("key", "in", "JSON keys"), rows)


def _keys() -> list[str]:
    return sorted(name for name in Space.model_fields if name != "stored")


def _named(name: str) -> str:
    return f"`{name.replace(f'_{_WIDTH}', '_<width>')}`"


def _typed(kind: pa.DataType) -> str:
    return f"`{kind}`".replace(f"[{_WIDTH}]", "[width]")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
