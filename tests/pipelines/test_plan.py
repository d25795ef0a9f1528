"""Planning: what a run will do, and the id that names exactly that."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.plan import combine, diff, shards, with_staged
from schemas.config import RunConfig
from schemas.errors import SourceError
from schemas.tables import ASSETS, LISTING, STAGED_COLUMN


def listing(rows: dict[str, tuple[int, str]], source: str = "s") -> pa.Table:
    uris = list(rows)
    columns = {
        "uri": uris,
        "source": [source] * len(uris),
        "size": [rows[u][0] for u in uris],
        "etag": [rows[u][1] for u in uris],
    }
    return pa.table(
        {f.name: pa.array(columns.get(f.name, [None] * len(uris)), f.type) for f in LISTING}, schema=LISTING
    )


def assets(rows: dict[str, tuple[int, str]], source: str = "s", code: str | None = None) -> pa.Table:
    n = len(rows)
    columns = {
        "uri": list(rows),
        "source": [source] * n,
        "size": [r[0] for r in rows.values()],
        "etag": [r[1] for r in rows.values()],
        "status": ["quarantined" if code else "embedded"] * n,
        "error_code": [code] * n,
        "segments": [1] * n,
        "tokens": [1] * n,
        "run_id": ["r"] * n,
    }
    return pa.table(
        {f.name: pa.array(columns.get(f.name, [None] * n), f.type) for f in ASSETS}, schema=ASSETS
    )


def test_new_changed_unchanged_and_deleted_are_told_apart() -> None:
    now = listing({"a": (1, "x"), "b": (2, "y2"), "c": (9, "z"), "d": (1, "n")})
    plan = diff(now, assets({"a": (1, "x"), "b": (2, "y"), "c": (3, "z"), "gone": (1, "g")}), ["s"])
    assert plan.work["uri"].to_pylist() == ["b", "c", "d"]
    assert (plan.listed, plan.new, plan.changed, plan.unchanged) == (4, 1, 2, 1)
    assert plan.deleted == ["gone"]


def test_assets_of_other_sources_are_not_deleted() -> None:
    plan = diff(listing({"a": (1, "x")}), assets({"other": (1, "x")}, source="elsewhere"), ["s"])
    assert plan.deleted == []


@pytest.mark.parametrize(
    ("code", "again"), [("storage", 1), ("access_denied", 1), ("embed_failed", 1), ("corrupt", 0)]
)
def test_only_a_failure_outside_the_bytes_is_tried_again(code: str, again: int) -> None:
    plan = diff(listing({"a": (1, "x")}), assets({"a": (1, "x")}, code=code), ["s"])
    assert plan.work.num_rows == again
    assert plan.unchanged == 1 - again


def test_the_run_id_depends_on_the_work_and_on_its_base_alone() -> None:
    empty = ASSETS.empty_table()
    one = diff(listing({"a": (1, "x"), "b": (2, "y")}), empty, ["s"])
    same = diff(listing({"b": (2, "y"), "a": (1, "x")}), empty, ["s"])
    other = diff(listing({"a": (1, "x"), "b": (2, "z")}), empty, ["s"])
    assert one.run_id("space", 1, 1, {}) == same.run_id("space", 1, 1, {})
    ids = {
        p.run_id(space, version, assets_version, grants)
        for p in (one, other)
        for space in ("s1", "s2")
        for version in (1, 2)
        for assets_version in (1, 2)
        for grants in ({}, {"s": ("/root",)})
    }
    assert len(ids) == 32


def test_what_a_folder_inside_the_source_listed_is_deleted_when_it_went() -> None:
    old = pa.concat_tables(
        [
            assets({"/s/sub/a": (1, "x")}, source="/s/sub"),
            assets({"/s/b": (1, "x")}, source="/elsewhere/m.csv"),
            assets({"/s2/c": (1, "x")}, source="/s2"),
        ]
    )
    plan = diff(listing({"/s/new": (1, "x")}, "/s"), old, ["/s"])
    assert plan.deleted == ["/s/sub/a"]


def test_an_object_in_two_sources_is_refused() -> None:
    with pytest.raises(SourceError, match="a is in more than one source"):
        combine([listing({"a": (1, "x")}), listing({"a": (1, "x")}, "t")])


def test_metadata_columns_of_several_manifests_are_united() -> None:
    def with_metadata(uri: str, **values: object) -> pa.Table:
        return listing({uri: (1, "x")}, uri).append_column("metadata", pa.array([values]))

    table = combine([with_metadata("a", year=1), with_metadata("b", who="x"), listing({"c": (1, "x")}, "c")])
    assert table["metadata"].to_pylist() == [
        {"year": 1, "who": None},
        {"year": None, "who": "x"},
        {"year": None, "who": None},
    ]


def test_metadata_columns_of_two_types_are_refused() -> None:
    tables = [
        listing({u: (1, "x")}, u).append_column("metadata", pa.array([{"year": v}]))
        for u, v in (("a", 1), ("b", "x"))
    ]
    with pytest.raises(SourceError, match="do not fit together"):
        combine(tables)


@given(
    sizes=st.lists(st.integers(0, 100), max_size=200),
    most=st.integers(1, 50),
    held=st.integers(1, 300),
)
def test_shards_hold_every_row_once_within_their_bounds(sizes: list[int], most: int, held: int) -> None:
    work = listing({f"u{i}": (size, "e") for i, size in enumerate(sizes)})
    cut = list(shards(work, RunConfig(shard_assets=most, shard_bytes=held)))
    assert sorted(u for shard in cut for u in shard["uri"].to_pylist()) == sorted(work["uri"].to_pylist())
    for shard in cut:
        assert 1 <= shard.num_rows <= most
        assert shard.num_rows == 1 or sum(shard["size"].to_pylist()) <= held
    assert [s["uri"].to_pylist() for s in cut] == [
        s["uri"].to_pylist() for s in shards(work, RunConfig(shard_assets=most, shard_bytes=held))
    ]


def test_staged_segments_ride_with_their_asset() -> None:
    staged = pl.DataFrame({"uri": ["b", "b"], "segment_id": ["1", "2"]})
    table = with_staged(listing({"a": (1, "x"), "b": (1, "x")}), staged)
    assert table[STAGED_COLUMN].to_pylist() == [None, ["1", "2"]]
