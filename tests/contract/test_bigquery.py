"""An export keeps to what BigQuery documents of Parquet: list encoding, types, names. No BigQuery runs here.

https://cloud.google.com/bigquery/docs/loading-data-cloud-storage-parquet
"""

from __future__ import annotations

import re

import pyarrow.parquet as pq
import pytest

from operators.lake.files import find
from operators.storage import Storage
from tests.contract.conftest import Places

pytestmark = pytest.mark.parametrize("place", ["disk"], indirect=True)
CONVERTED = {
    ("BYTE_ARRAY", "String"),  # STRING
    ("INT32", "None"),  # INT64
    ("INT64", "None"),  # INT64
    ("FLOAT", "None"),  # FLOAT64
    ("INT32", "Int(bitWidth=8, isSigned=true)"),  # INT64
}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}")
TAKEN = ("_TABLE_", "_FILE_", "_PARTITION", "_ROW_TIMESTAMP", "__ROOT__", "_COLIDENTIFIER")


@pytest.mark.parametrize("source", ["float32", "int8"])
def test_an_export_keeps_to_bigquery_s_rules(source: str, places: Places) -> None:
    (file,) = [f for f in find(Storage(), places(source).uri) if f.uri.endswith(".parquet")]
    parquet = pq.ParquetFile(file.uri)
    names = parquet.schema_arrow.names
    assert all(NAME.fullmatch(name) and not name.upper().startswith(TAKEN) for name in names)
    assert len({name.lower() for name in names}) == len(names)
    columns = [parquet.schema.column(i) for i in range(len(parquet.schema.names))]
    lists = [column for column in columns if "." in column.path]
    # `enable_list_inference` knows three levels: an outer group LIST, a repeated group `list`, its `element`.
    assert [column.path for column in lists] == ["embedding_8.list.element"]
    assert lists[0].max_repetition_level == 1
    kinds = {(column.physical_type, str(column.logical_type)) for column in columns}
    assert kinds <= CONVERTED
    codecs = {parquet.metadata.row_group(0).column(i).compression for i in range(len(columns))}
    assert codecs == {"ZSTD"}
