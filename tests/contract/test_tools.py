"""Each tool that the contract names reads the same rows, of the promised types, and takes the same cosine."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import lance
import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pytest

from operators.storage import join
from pipelines.connect import LancePlace, ParquetPlace
from pipelines.reader import LakeReader
from tests.contract.conftest import WIDTH, Places
from tests.pipelines.wear import CORPUS, Worn, vector

pytestmark = pytest.mark.parametrize("place", ["disk"], indirect=True)
Place = LancePlace | ParquetPlace
Rows = dict[tuple[str, int], tuple[int, str, float]]
Answer = tuple[Rows, list[str]]
"""By uri and ordinal: tokens, text, and the cosine with the query; and how the tool calls the types of
`uri`, `tokens`, `char_start` and the vector."""
TYPED = ("uri", "tokens", "char_start", f"embedding_{WIDTH}")
QUERY = np.ascontiguousarray(
    vector("secretc one", 0)[:WIDTH] / np.linalg.norm(vector("secretc one", 0)[:WIDTH])
)


def files(place: Place) -> str:
    return join(place.uri, "**/*.parquet")


def rows(table: pa.Table) -> Rows:
    vectors = np.array(table[TYPED[-1]].to_pylist(), np.float32)
    cosines = vectors @ QUERY / np.linalg.norm(vectors, axis=1)
    keys = zip(table["uri"].to_pylist(), table["ordinal"].to_pylist(), strict=True)
    values = zip(table["tokens"].to_pylist(), table["text"].to_pylist(), cosines.tolist(), strict=True)
    return dict(zip(keys, values, strict=True))


def by_arrow(place: Place) -> Answer:
    if isinstance(place, LancePlace):
        table = lance.dataset(place.uri, version=place.pin).to_table()
    else:
        table = pads.dataset(place.uri).to_table()
        assert table.num_rows == pads.parquet_dataset(join(place.uri, "_metadata")).to_table().num_rows
    return rows(table), [str(table.schema.field(name).type) for name in TYPED]


def by_duckdb(place: Place) -> Answer:
    import duckdb

    if isinstance(place, LancePlace):
        segments = lance.dataset(place.uri, version=place.pin)
        relation = duckdb.sql("FROM segments")
        assert segments is not None
    else:
        relation = duckdb.read_parquet(files(place))
    told = dict(zip(relation.columns, map(str, relation.types), strict=True))
    cosine = f"array_cosine_similarity({TYPED[-1]}::FLOAT[{WIDTH}], {QUERY.tolist()}::FLOAT[{WIDTH}])"
    found = relation.select(f"uri, ordinal, tokens, text, {cosine}").fetchall()
    return {(row[0], row[1]): row[2:] for row in found}, [told[name] for name in TYPED]


def by_polars(place: Place) -> Answer:
    import polars as pl

    if isinstance(place, LancePlace):
        frame = pl.scan_pyarrow_dataset(lance.dataset(place.uri, version=place.pin)).collect()
    else:
        frame = pl.scan_parquet(files(place)).collect()
    return rows(frame.to_arrow()), [str(frame.schema[name]) for name in TYPED]


def by_pandas(place: Place) -> Answer:
    import pandas as pd

    if isinstance(place, LancePlace):
        frame = lance.dataset(place.uri, version=place.pin).to_table().to_pandas()
    else:
        frame = pd.read_parquet(place.uri, partitioning=None)
    return rows(pa.Table.from_pandas(frame)), [frame[TYPED[-1]].iloc[0].dtype.name]


def by_lancedb(place: Place) -> Answer:
    import lancedb

    folder, _, name = place.uri.removesuffix(".lance").rpartition("/")
    table = lancedb.connect(folder).open_table(name)
    assert isinstance(place, LancePlace)
    table.checkout(place.pin)
    found = table.search(QUERY, vector_column_name=TYPED[-1]).metric("cosine").limit(100).to_arrow()
    made = {
        key: (*value[:2], 1 - d)
        for (key, value), d in zip(rows(found).items(), found["_distance"].to_pylist(), strict=True)
    }
    return made, [str(table.schema.field(name).type) for name in TYPED]


def by_datafusion(place: Place) -> Answer:
    from datafusion import SessionContext

    context = SessionContext()
    if isinstance(place, LancePlace):
        context.register_table(
            "segments", lance.FFILanceTableProvider(lance.dataset(place.uri, version=place.pin))
        )
    else:
        context.register_parquet("segments", place.uri)
    query = f"arrow_cast({QUERY.tolist()}, 'FixedSizeList({WIDTH}, Float32)')"
    as_float = f"arrow_cast({TYPED[-1]}, 'FixedSizeList({WIDTH}, Float32)')"
    cosine = f"1 - cosine_distance({as_float}, {query})"
    found = context.sql(f"SELECT uri, ordinal, tokens, text, {cosine} AS c FROM segments").to_pylist()
    types = context.sql(
        f"SELECT {', '.join(f'arrow_typeof({n}) AS {n}' for n in TYPED)} FROM segments LIMIT 1"
    )
    told = types.to_pylist()[0]
    return {(r["uri"], r["ordinal"]): (r["tokens"], r["text"], r["c"]) for r in found}, [
        told[n] for n in TYPED
    ]


def by_spark(place: Place) -> Answer:
    pytest.importorskip("pyspark", reason="needs the extra 'spark'")
    if shutil.which("java") is None:
        pytest.skip("needs Java 17 or newer")
    from pyspark.sql import SparkSession

    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[1]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    frame = spark.read.parquet(place.uri)
    frame.createOrReplaceTempView("segments")
    numbers = ", ".join(map(repr, QUERY.astype(float).tolist()))

    def dot(a: str, b: str) -> str:
        return f"aggregate(zip_with({a}, {b}, (x, y) -> double(x) * y), 0d, (s, v) -> s + v)"

    v, q = TYPED[-1], f"array({numbers})"
    found = spark.sql(
        f"SELECT uri, ordinal, tokens, text, {dot(v, q)} / sqrt({dot(v, v)}) FROM segments"
    ).collect()
    told = dict(frame.dtypes)
    return {(r[0], r[1]): tuple(r[2:]) for r in found}, [told[name] for name in TYPED]


FIXED = "fixed_size_list<element: {}>[8]"
ASKED: dict[str, tuple[Callable[[Place], Answer], dict[str, list[str]]]] = {
    "pyarrow": (by_arrow, {
        "lance": ["string", "int32", "int64", "fixed_size_list<item: float>[8]"],
        "float32": ["string", "int32", "int64", FIXED.format("float")],
        "float16": ["string", "int32", "int64", FIXED.format("halffloat")],
        "int8": ["string", "int32", "int64", FIXED.format("int8")],
    }),
    "duckdb": (by_duckdb, {
        "lance": ["VARCHAR", "INTEGER", "BIGINT", "FLOAT[8]"],
        "float32": ["VARCHAR", "INTEGER", "BIGINT", "FLOAT[]"],
        "float16": ["VARCHAR", "INTEGER", "BIGINT", "FLOAT[]"],
        "int8": ["VARCHAR", "INTEGER", "BIGINT", "TINYINT[]"],
    }),
    "polars": (by_polars, {
        "lance": ["String", "Int32", "Int64", "Array(Float32, shape=(8,))"],
        "float32": ["String", "Int32", "Int64", "Array(Float32, shape=(8,))"],
        "float16": ["String", "Int32", "Int64", "Array(Float16, shape=(8,))"],
        "int8": ["String", "Int32", "Int64", "Array(Int8, shape=(8,))"],
    }),
    "pandas": (by_pandas, {"lance": ["float32"], "float32": ["float32"], "float16": ["float16"], "int8": ["int8"]}),
    "lancedb": (by_lancedb, {"lance": ["string", "int32", "int64", "fixed_size_list<item: float>[8]"]}),
    "datafusion": (by_datafusion, {
        "lance": ["Utf8", "Int32", "Int64", "FixedSizeList(8 x Float32)"],
        "float32": ["Utf8View", "Int32", "Int64", "FixedSizeList(8 x Float32, field: 'element')"],
        "float16": ["Utf8View", "Int32", "Int64", "FixedSizeList(8 x Float16, field: 'element')"],
        "int8": ["Utf8View", "Int32", "Int64", "FixedSizeList(8 x Int8, field: 'element')"],
    }),
    "spark": (by_spark, {
        "float32": ["string", "int", "bigint", "array<float>"],
        "int8": ["string", "int", "bigint", "array<tinyint>"],
    }),
}  # fmt: skip
TOLERANCE = {"lance": 1e-5, "float32": 1e-5, "float16": 2e-3, "int8": 2e-2}


@pytest.mark.parametrize(("tool", "source"), [(t, s) for t, (_, types) in ASKED.items() for s in types])
def test_tools_agree_on_rows_types_and_cosine(tool: str, source: str, places: Places, worn: Worn) -> None:
    ask, types = ASKED[tool]
    lake = rows(LakeReader.open(worn.lake).segments(CORPUS).to_table())
    found, told = ask(places(source))
    assert told == types[source]
    assert found.keys() == lake.keys()
    for key, (tokens, text, cosine) in lake.items():
        assert found[key][:2] == (tokens, text)
        assert found[key][2] == pytest.approx(cosine, abs=TOLERANCE[source])
    assert max(lake.values(), key=lambda row: row[2])[1].startswith("secretc one"), (
        "the query's own row is nearest"
    )
