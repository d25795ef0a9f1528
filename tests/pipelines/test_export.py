"""Export to Parquet: what any reader finds is the lake's rows, and only what changed is written."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from operators.lake.files import find
from operators.storage import Storage, join
from pipelines.export.parquet import Exported, check_spec, export_parquet
from pipelines.gc import collect
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from schemas.export import DType, ExportSpec
from tests.pipelines.wear import CORPUS, Worn, texts

STORAGE = Storage()


@pytest.fixture
def worn(place: str) -> Worn:
    made = Worn(join(place, "lake"))
    made.night(texts(*"abcdef"))
    return made


@pytest.fixture
def target(place: str) -> str:
    return join(place, "out")


def export(worn: Worn, target: str, full: bool = False, **spec: Any) -> Exported:
    reader = LakeReader.open(worn.lake)
    asked = {
        "corpus": CORPUS,
        "space": reader.catalog.corpora[CORPUS].live,
        "widths": (),
        "dtype": DType.FLOAT32,
    }
    return export_parquet(reader, check_spec(reader, ExportSpec(**asked | spec)), target, full=full)


def files(target: str) -> list[str]:
    return [f.uri for f in find(STORAGE, target) if f.uri.endswith(".parquet")]


def read(target: str) -> pa.Table:
    """All files below a target, as someone reads them who knows of no manifest."""
    tables = []
    for uri in files(target):
        fs, path = STORAGE.filesystem(uri)
        with fs.open(path, "rb") as opened:
            tables.append(pq.ParquetFile(opened).read())
    return pa.concat_tables(tables)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: (row["uri"], row["ordinal"]))


def lake_rows(worn: Worn) -> list[dict[str, Any]]:
    return rows(LakeReader.open(worn.lake).segments(CORPUS).to_table())


def assert_same(worn: Worn, target: str) -> None:
    """Whoever reads all files, and whoever reads `_metadata`, finds the lake's rows."""
    assert rows(read(target)) == lake_rows(worn)
    fs, path = STORAGE.filesystem(join(target, "_metadata"))
    assert rows(pads.parquet_dataset(path, filesystem=fs).to_table()) == lake_rows(worn)


def test_each_export_is_the_lake_s_rows_and_writes_only_what_changed(worn: Worn, target: str) -> None:
    first = export(worn, target)
    assert (first.rows, first.rows_added, first.anew) == (12, 12, "the target was empty")
    assert_same(worn, target)
    kept = files(target)
    again = export(worn, target)
    assert (again.rows_added, again.rows_removed, again.bytes_written, files(target)) == (0, 0, 0, kept)
    worn.night(texts(*"abcdefg"))
    grown = export(worn, target)
    assert (grown.rows_added, grown.rows_removed, grown.files_written, grown.anew) == (2, 0, 1, None)
    assert set(kept) < set(files(target)), "what did not change was not written again"
    assert_same(worn, target)
    worn.night(texts(*"bcdefg"))
    fewer = export(worn, target)
    assert (fewer.rows_added, fewer.rows_removed, fewer.files_written, fewer.files_removed) == (0, 2, 1, 1)
    assert_same(worn, target)
    worn.night(texts(*"bcdef") | {"s/g.txt": "other words"})
    changed = export(worn, target)
    assert (changed.rows_added, changed.rows_removed, changed.rows) == (2, 2, 12)
    assert_same(worn, target)


def test_compaction_and_collected_versions_cost_nothing(worn: Worn, target: str) -> None:
    export(worn, target)
    kept = files(target)
    worn.night(texts(*"abcdefg"))
    maintain(worn.lake, CORPUS, days=0)
    collect(worn.lake, days=0)
    done = export(worn, target)
    assert (done.anew, done.rows_added, done.rows_removed) == (None, 2, 0)
    assert set(kept) < set(files(target))
    assert_same(worn, target)
