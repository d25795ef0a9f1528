"""Files that scan well: row groups and files of a size, statistics, zstd, and nothing visible before the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.export import parquet
from operators.export.parquet import PartWriter
from operators.export.row_ids import unpacked
from operators.storage import Storage

SCHEMA = pa.schema([("uri", pa.string()), ("page", pa.int32()), ("embedding_4", pa.list_(pa.float32(), 4))])


def batch(start: int, rows: int) -> pa.RecordBatch:
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(np.random.default_rng(start).random(rows * 4, np.float32)), 4
    )
    pages = pa.array(np.arange(start, start + rows), pa.int32())
    return pa.RecordBatch.from_arrays([pages.cast(pa.string()), pages, vectors], schema=SCHEMA)


def write(target: Path, batches: int, file_bytes: int) -> PartWriter:
    writer = PartWriter(Storage(), str(target), "part", SCHEMA, file_bytes)
    for i in range(batches):
        writer.write(np.arange(i * 100, i * 100 + 100, dtype=np.uint64), batch(i * 100, 100))
    writer.finish()
    return writer


def test_row_groups_and_files_have_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 300)
    writer = write(tmp_path, 10, file_bytes=8000)
    assert [one.footer.num_row_groups for one in writer.written] == [2, 2]
    assert [len(unpacked(one.ids)) for one in writer.written] == [600, 400]
    assert writer.written[0].footer.row_group(0).num_rows == 300


def test_columns_that_filters_use_have_statistics(tmp_path: Path) -> None:
    (one,) = write(tmp_path, 2, file_bytes=1 << 20).written
    one.staged.commit()
    found = pq.read_metadata(tmp_path / one.file.path)
    columns = {c.path_in_schema: c for c in (found.row_group(0).column(i) for i in range(found.num_columns))}
    assert (columns["page"].statistics.min, columns["page"].statistics.max) == (0, 199)
    assert columns["embedding_4.list.element"].statistics is None
    assert {c.compression for c in columns.values()} == {"ZSTD"}
    assert (tmp_path / one.file.path).stat().st_size == one.file.bytes


def test_nothing_is_seen_before_commit_and_nothing_is_left_after_discard(tmp_path: Path) -> None:
    writer = write(tmp_path, 2, file_bytes=1 << 20)
    assert not list(tmp_path.glob("*.parquet"))
    writer.discard()
    assert not list(tmp_path.iterdir())
