"""Rows of a set of assets are deleted exactly, whatever fragments they lie in."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.lake.deletion import delete_assets
from operators.lake.tables import Table
from operators.storage import Storage, join

SCHEMA = pa.schema([pa.field("uri", pa.string()), pa.field("n", pa.int64())])
NAMES = st.sampled_from(["a", "b", "it's", 'a" OR 1=1', "é", "a b", "%", "c\n"])


def rows(*uris: str) -> pa.Table:
    return pa.table({"uri": list(uris), "n": range(len(uris))}, schema=SCHEMA)


def uris(table: Table, version: int | None = None) -> list[str]:
    return sorted(table.open(version).to_table()["uri"].to_pylist())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    fragments=st.lists(st.lists(NAMES, min_size=1, max_size=6), min_size=1, max_size=5),
    drops=st.lists(st.lists(NAMES, max_size=4), min_size=1, max_size=3),
)
def test_repeated_deletions_leave_exactly_the_other_assets_rows(
    tmp_path: Path, fragments: list[list[str]], drops: list[list[str]]
) -> None:
    table = Table(tempfile.mkdtemp(dir=tmp_path) + "/t.lance", Storage())
    table.ensure(SCHEMA)
    version = table.commit("r", 1, [s for f in fragments for s in table.stage(rows(*f))], [])
    left = sorted(uri for fragment in fragments for uri in fragment)
    for n, drop in enumerate(drops):
        version = table.commit(f"r{n}", version, table.stage(rows("new")), drop)
        left = sorted([uri for uri in left if uri not in drop] + ["new"])
        assert uris(table, version) == left


def test_a_fragment_whose_rows_all_go_leaves_the_table(place: str) -> None:
    table = Table(join(place, "t.lance"), Storage())
    table.ensure(SCHEMA)
    staged = [s for f in (["a", "a"], ["a", "b"], ["c"]) for s in table.stage(rows(*f))]
    version = table.commit("r1", 1, staged, [])
    gone = delete_assets(table.open(version), ["a"])
    assert (gone.removed, [f.num_rows for f in gone.updated]) == ([0], [1])
    assert uris(table, table.commit("r2", version, [], ["a"])) == ["b", "c"]


def test_half_of_a_table_of_many_small_fragments_goes_in_seconds(tmp_path: Path) -> None:
    table = Table(str(tmp_path / "t.lance"), Storage())
    table.ensure(SCHEMA)
    names = [f"s3://bucket/corpus/object-{n:07d}.jpg" for n in range(100_000)]
    staged = [
        s for start in range(0, len(names), 500) for s in table.stage(rows(*names[start : start + 500]))
    ]
    version = table.commit("r1", 1, staged, [])
    started = time.process_time()
    version = table.commit("r2", version, [], pl.Series(names[::2]))
    assert time.process_time() - started < 10
    assert uris(table, version) == names[1::2]
