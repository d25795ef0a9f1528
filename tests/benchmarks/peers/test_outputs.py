"""What a killed and repeated run leaves behind is counted as it is."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.benchmarks.peers.corpora import change, make
from tests.benchmarks.peers.measure import Pair
from tests.benchmarks.peers.meter import Run
from tests.benchmarks.peers.outputs import Output, read
from tests.benchmarks.peers.work import steady


def write(file: Path, names: list[str], vectors: list[list[float]]) -> None:
    columns = {
        "path": names,
        "ordinal": [0] * len(names),
        "embedding": pa.array(vectors, pa.list_(pa.float32(), 2)),
    }
    file.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), file)


def test_doubled_missing_and_unreadable_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "whole" / "a.parquet", ["/x/a", "/x/b", "/x/c"], [[1, 0], [0, 1], [1, 1]])
    write(tmp_path / "again" / "a.parquet", ["/x/a"], [[1, 0]])
    write(tmp_path / "again" / "b.parquet", ["/x/b", "/x/a"], [[0, 1], [1, 0]])
    cut = (tmp_path / "whole" / "a.parquet").read_bytes()[:-20]
    (tmp_path / "again" / "c.parquet").write_bytes(cut)
    whole, again = (read("script", tmp_path / name) for name in ("whole", "again"))
    assert (again.doubled(), again.missing(whole), again.unreadable) == (1, 1, 1)
    with pytest.raises(ValueError, match="not of the same segments"):
        again.nearness(whole)


def test_nearness_is_the_least_cosine_whatever_the_order() -> None:
    one = Output([("a", 0), ("b", 0)], np.array([[2, 0], [0, 3]], np.float32))
    other = Output([("b", 0), ("a", 0)], np.array([[3, 3], [5, 0]], np.float32))
    assert one.nearness(other) == pytest.approx(0.7071, abs=1e-4)


def test_a_night_changes_the_share_and_nothing_else(tmp_path: Path) -> None:
    corpus = make(tmp_path, "documents", 40)
    before = {file.name: file.read_bytes() for file in corpus.iterdir()}
    today = tmp_path / "today"
    today.mkdir()
    assert change(corpus, today, 0.05) == 2
    after = {file.name: file.read_bytes() for file in today.iterdir()}
    assert after.keys() == before.keys()
    assert sum(after[name] != before[name] for name in before) == 2
    assert {file.name: file.read_bytes() for file in corpus.iterdir()} == before


def test_the_clock_starts_when_every_copy_of_the_model_is_loaded() -> None:
    early = [(1.0, 1.0, 0), (1.5, 2.0, 4)]
    assert steady([*early, (3.0, 3.0, 0), (3.5, 4.0, 4), (4.0, 5.0, 4)]) == (3.0, 8)
    assert steady([*early, (3.0, 3.0, 0), (3.5, 4.0, 2)]) == (1.5, 6)
    assert steady([(1.0, 1.0, 0), (1.0, 5.0, 8), (2.0, 2.0, 0), (2.0, 5.0, 8)]) == (2.0, 14), (
        "under way by then"
    )


def test_what_a_start_costs_and_what_runs_ahead_is_not_in_a_ways_rate() -> None:
    def run(whole: float, cpu: float, rows: int) -> Run:
        return Run(
            whole=whole,
            steady=1.0,
            cpu=cpu,
            steady_cpu=1.0,
            peak_bytes=1,
            held={},
            steady_rows=1,
            model_rows=rows,
            ended=True,
        )

    pair = Pair(run(20.0, 30.0, 100), run(30.0, 45.0, 300))
    assert pair.rows_per_second == 20.0
    assert pair.cpu_ms == 75.0
    assert math.isnan(Pair(run(20.0, 30.0, 100), run(19.5, 31.0, 110)).rows_per_second), "a start took longer"
