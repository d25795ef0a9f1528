"""A query reads the columns that it names, and no others: counted in bytes."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.scan import WIDTH, make_wide_lake, scans

ROWS = 20_000


def test_a_filtered_query_reads_only_the_columns_that_it_names(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    make_wide_lake(lake, ROWS)
    count, columns, vector, few, everything = scans(lake)
    assert count.rows == 1
    assert columns.rows == vector.rows == everything.rows
    assert 0.45 * ROWS < columns.rows < 0.55 * ROWS, "the filter is applied"
    vectors = vector.rows * WIDTH * 4
    assert count.bytes_read < columns.bytes_read
    assert columns.bytes_read < 0.1 * vectors
    assert vectors <= vector.bytes_read < everything.bytes_read
    assert 0 < few.bytes_read < 0.3 * vector.bytes_read, "the filter goes down to the scan"
    assert columns.bytes_read < 0.1 * everything.bytes_read
