"""Planning: what a run will do, and the id that names exactly that."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import zip_longest

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.listing import combine
from pipelines.plan import diff
from pipelines.shards import shards, with_staged
from schemas.config import RunConfig, Selection
from schemas.errors import SourceError
from schemas.tables import (
    ASSETS,
    DONORS_COLUMN,
    LISTING,
    METADATA_DIGEST,
    STAGED_COLUMN,
    TAKEN_COLUMN,
    TIMESTAMP,
)


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


def listed(rows: dict[str, tuple[int, str]], source: str = "s") -> pa.Table:
    return combine([listing(rows, source)])


def edited(rows: dict[str, tuple[int, str]], **values: object) -> pa.Table:
    metadata = pa.array([values] * len(rows))
    return combine([listing(rows).append_column("metadata", metadata)])


def assets(rows: dict[str, tuple[int, str]], source: str = "s", code: str | None = None) -> pa.Table:
    n = len(rows)
    columns = {
        "uri": list(rows),
        "source": [source] * n,
        "size": [r[0] for r in rows.values()],
        "etag": [r[1] for r in rows.values()],
        "status": ["quarantined" if code else "embedded"] * n,
        "error_code": [code] * n,
        "content_hash": [f"hash of {uri}" for uri in rows],
        "segments": [1] * n,
        "tokens": [1] * n,
        "run_id": ["r"] * n,
    }
    return pa.table(
        {f.name: pa.array(columns.get(f.name, [None] * n), f.type) for f in ASSETS}, schema=ASSETS
    )


def test_new_changed_unchanged_and_deleted_are_told_apart() -> None:
    now = listed({"a": (1, "x"), "b": (2, "y2"), "c": (9, "z"), "d": (1, "n")})
    plan = diff(now, assets({"a": (1, "x"), "b": (2, "y"), "c": (3, "z"), "gone": (1, "g")}), ["s"])
    assert plan.work["uri"].to_pylist() == ["b", "c", "d"]
    assert (plan.listed, plan.new, plan.changed, plan.unchanged) == (4, 1, 2, 1)
    assert plan.deleted == ["gone"]


def test_assets_of_other_sources_are_not_deleted() -> None:
    plan = diff(listed({"a": (1, "x")}), assets({"other": (1, "x")}, source="elsewhere"), ["s"])
    assert plan.deleted == []


@pytest.mark.parametrize(
    ("code", "again"), [("storage", 1), ("access_denied", 1), ("embed_failed", 1), ("corrupt", 0)]
)
def test_only_a_failure_outside_the_bytes_is_tried_again(code: str, again: int) -> None:
    plan = diff(listed({"a": (1, "x")}), assets({"a": (1, "x")}, code=code), ["s"])
    assert plan.work.num_rows == again
    assert plan.unchanged == 1 - again


def test_the_run_id_depends_on_the_work_and_on_its_base_alone() -> None:
    empty = ASSETS.empty_table()
    one = diff(listed({"a": (1, "x"), "b": (2, "y")}), empty, ["s"])
    same = diff(listed({"b": (2, "y"), "a": (1, "x")}), empty, ["s"])
    other = diff(listed({"a": (1, "x"), "b": (2, "z")}), empty, ["s"])
    assert one.run_id("space", 1, {}) == same.run_id("space", 1, {})
    ids = {
        p.run_id(space, revision, grants)
        for p in (one, other)
        for space in ("s1", "s2")
        for revision in (1, 2)
        for grants in ({}, {"s": ("/root",)})
    }
    assert len(ids) == 16


def test_what_a_folder_inside_the_source_listed_is_deleted_when_it_went() -> None:
    old = pa.concat_tables(
        [
            assets({"/s/sub/a": (1, "x")}, source="/s/sub"),
            assets({"/s/b": (1, "x")}, source="/elsewhere/m.csv"),
            assets({"/s2/c": (1, "x")}, source="/s2"),
        ]
    )
    plan = diff(listed({"/s/new": (1, "x")}, "/s"), old, ["/s"])
    assert plan.deleted == ["/s/sub/a"]


def test_an_object_in_two_sources_is_refused() -> None:
    with pytest.raises(SourceError, match="a is in more than one source"):
        combine([listing({"a": (1, "x")}), listing({"a": (1, "x")}, "t")])


def test_metadata_columns_of_several_manifests_are_united() -> None:
    def with_metadata(uri: str, **values: object) -> pa.Table:
        return listing({uri: (1, "x")}, uri).append_column("metadata", pa.array([values]))

    table = combine([with_metadata("a", year=1), with_metadata("b", who="x"), listing({"c": (1, "x")}, "c")])
    assert len(set(table[METADATA_DIGEST].to_pylist())) == 3
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


@example(sizes=[2, 0], most=2, held=1, least=1)
@given(
    sizes=st.lists(st.integers(0, 100), max_size=200),
    most=st.integers(1, 50),
    held=st.integers(1, 300),
    least=st.integers(1, 40),
)
def test_shards_hold_every_row_once_within_their_bounds(
    sizes: list[int], most: int, held: int, least: int
) -> None:
    work = listing({f"u{i}": (size, "e") for i, size in enumerate(sizes)})
    config = RunConfig(shard_assets=most, shard_bytes=held)
    cut = list(shards(work, config, least))
    assert sorted(u for shard in cut for u in shard["uri"].to_pylist()) == sorted(work["uri"].to_pylist())
    share = -(-len(sizes) // least)
    for shard, after in zip_longest(cut, cut[1:]):
        held_here = sum(shard["size"].to_pylist())
        assert 1 <= shard.num_rows <= min(most, max(share, 16))
        assert shard.num_rows == 1 or held_here <= held
        if after is not None and shard.num_rows < min(most, share, 16):
            assert held_here + after["size"][0].as_py() > held
        if shard.num_rows > share:
            assert sum(shard["size"].to_pylist()[:-1]) < max(1, held // 16), (
                "it had little to do until its last"
            )
    assert [s["uri"].to_pylist() for s in cut] == [s["uri"].to_pylist() for s in shards(work, config, least)]


def test_staged_segments_ride_with_their_asset() -> None:
    columns = {"object": ["b", "b", "z"], "uri": ["b", "b", "z!/a"], "container": [None, None, "z"]}
    staged = pl.DataFrame({**columns, "segment_id": ["1", "2", "3"]})
    table = with_staged(listing({"a": (1, "x"), "b": (1, "x"), "z": (1, "x")}), staged)
    assert table[STAGED_COLUMN].to_pylist() == [None, ["1", "2"], ["z!/a 3"]]


def with_archive(etag: str = "x", code: str | None = None, digest: str | None = None) -> pa.Table:
    """An archive of two members, and a plain asset beside it."""
    rows = assets(
        {"z.zip": (9, etag), "z.zip!/a.txt": (1, ""), "z.zip!/b.txt": (2, ""), "p": (1, "y")}
    ).to_pylist()
    rows[0].update(status="expanded", metadata_digest=digest)
    for member in rows[1:3]:
        member.update(container="z.zip", etag=None)
    if code:
        rows[2].update(status="quarantined", error_code=code)
    return pa.Table.from_pylist(rows, schema=ASSETS)


def test_members_stay_while_their_archive_is_the_same() -> None:
    now = listed({"z.zip": (9, "x"), "p": (1, "y")})
    assert diff(now, with_archive(), ["s"]).empty
    assert diff(now, with_archive(code="corrupt"), ["s"]).empty


@pytest.mark.parametrize(
    "old", [with_archive("old"), with_archive(code="storage"), with_archive(digest="old")]
)
def test_a_changed_archive_replaces_its_members_and_knows_their_contents(old: pa.Table) -> None:
    plan = diff(listed({"z.zip": (9, "x"), "p": (1, "y")}), old, ["s"])
    assert (plan.known, plan.deleted) == (["z.zip"], [])
    assert sorted(plan.members["uri"]) == ["z.zip!/a.txt", "z.zip!/b.txt"]
    embedded = [
        f"{row['content_hash']}.txt"
        for row in old.to_pylist()
        if row["container"] and row["status"] == "embedded"
    ]
    assert plan.work[DONORS_COLUMN].to_pylist() == [embedded]


def test_members_go_with_their_archive() -> None:
    plan = diff(listed({"p": (1, "y")}), with_archive(), ["s"])
    assert plan.deleted == ["z.zip", "z.zip!/a.txt", "z.zip!/b.txt"]


def test_a_copied_archive_knows_the_contents_of_the_first() -> None:
    plan = diff(listed({"z.zip": (9, "x"), "p": (1, "y"), "copy.zip": (9, "x")}), with_archive(), ["s"])
    assert plan.work.select(["uri", DONORS_COLUMN]).to_pylist() == [
        {"uri": "copy.zip", DONORS_COLUMN: ["hash of z.zip!/a.txt.txt", "hash of z.zip!/b.txt.txt"]}
    ]


def test_a_row_with_other_metadata_and_the_same_bytes_is_updated_and_not_embedded() -> None:
    rows = {"a": (1, "x")}
    first, same, other = edited(rows, year=1), edited(rows, year=1, who=None), edited(rows, year=2)
    old = assets(rows).drop_columns([METADATA_DIGEST]).append_column(METADATA_DIGEST, first[METADATA_DIGEST])
    assert diff(same, old, ["s"]).empty, "a further column without a value changes nothing"
    plan = diff(other, old, ["s"])
    assert (plan.updates["uri"].to_pylist(), plan.work.num_rows, plan.unchanged) == (["a"], 0, 0)
    assert diff(listed(rows), old, ["s"]).updates.num_rows == 1, "metadata that went is an edit too"


def test_an_asset_of_the_same_size_and_suffix_is_a_donor() -> None:
    old = assets({"a.txt": (7, "x"), "b.txt": (7, "y"), "c.png": (7, "z"), "d.txt": (8, "w")})
    plan = diff(listed({"new.txt": (7, "n"), "copy.TXT": (7, "y"), "e.txt": (9, "x")}), old, ["s"])
    donors = dict(zip(plan.work["uri"].to_pylist(), plan.work[DONORS_COLUMN].to_pylist(), strict=True))
    assert donors == {
        "copy.TXT": ["hash of b.txt.txt"],
        "e.txt": None,
        "new.txt": ["hash of a.txt.txt", "hash of b.txt.txt"],
    }


def test_many_assets_of_one_size_give_donors_by_etag_alone() -> None:
    old = assets({f"{i}.wav": (7, f"e{i}") for i in range(40)})
    plan = diff(listed({"moved.wav": (7, "e3"), "new.wav": (7, "other")}), old, ["s"])
    assert plan.work[DONORS_COLUMN].to_pylist() == [["hash of 3.wav.wav"], None]


def test_everything_is_embedded_again_on_request_and_nothing_is_a_donor() -> None:
    rows = {"a.txt": (1, "x"), "b.txt": (1, "y")}
    plan = diff(listed({**rows, "c.txt": (1, "z")}), assets(rows), ["s"], Selection(full=True))
    assert (plan.new, plan.changed, plan.unchanged, plan.known) == (1, 2, 0, ["a.txt", "b.txt"])
    assert plan.work[DONORS_COLUMN].null_count == 3


@pytest.mark.parametrize(
    ("glob", "chosen"),
    [
        ("*.jpg", {"s3://b/x/1.jpg", "s3://b/y/2.jpg"}),
        ("x/*", {"s3://b/x/1.jpg", "s3://b/x/z/3.txt"}),
        ("s3://b/y/*", {"s3://b/y/2.jpg"}),
        ("?.txt", {"s3://b/x/z/3.txt"}),
        ("[1].jpg", set()),
        (".txt", set()),
    ],
)
def test_globs_choose_by_the_whole_uri_or_by_what_follows_a_slash(glob: str, chosen: set[str]) -> None:
    now = listed(dict.fromkeys(("s3://b/x/1.jpg", "s3://b/y/2.jpg", "s3://b/x/z/3.txt"), (1, "x")))
    included = diff(now, ASSETS.empty_table(), ["s"], Selection(include=(glob,)))
    assert set(included.work["uri"].to_pylist()) == chosen
    excluded = diff(now, ASSETS.empty_table(), ["s"], Selection(exclude=(glob,)))
    assert set(excluded.work["uri"].to_pylist()) == set(now["uri"].to_pylist()) - chosen
    assert (included.excluded, excluded.excluded) == (3 - len(chosen), len(chosen))


def test_what_is_not_selected_is_neither_embedded_nor_deleted() -> None:
    old = assets({"gone.jpg": (1, "x"), "gone.txt": (1, "x"), "a.jpg": (1, "old")})
    plan = diff(listed({"a.jpg": (1, "new"), "b.txt": (1, "n")}), old, ["s"], Selection(exclude=("*.jpg",)))
    assert (plan.work["uri"].to_pylist(), plan.deleted, plan.excluded) == (["b.txt"], ["gone.txt"], 1)


def test_only_what_was_modified_since_is_embedded() -> None:
    times = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    now = listed({"a": (1, "n"), "b": (1, "n"), "c": (1, "x")})
    now = now.set_column(now.schema.get_field_index("mtime"), "mtime", pa.array(times, TIMESTAMP))
    plan = diff(now, assets({"c": (1, "x")}), ["s"], Selection(since=times[1]))
    assert (plan.work["uri"].to_pylist(), plan.excluded, plan.unchanged) == (["b"], 1, 1)


def test_a_limited_run_leaves_the_rest_to_the_next() -> None:
    now = listed({f"{i}": (1, "n") for i in range(5)})
    plan = diff(now, ASSETS.empty_table(), ["s"], Selection(max_assets=2))
    assert (plan.work["uri"].to_pylist(), plan.new, plan.deferred) == (["0", "1"], 2, 3)


def test_what_was_forgotten_is_not_embedded_again() -> None:
    now = listed({"a": (1, "n"), "b": (1, "n")})
    plan = diff(now, ASSETS.empty_table(), ["s"], forgotten=pl.Series([True, False]))
    assert (plan.work["uri"].to_pylist(), plan.excluded) == (["b"], 1)


def test_an_object_keeps_the_uri_that_a_member_would_have() -> None:
    now = listed({"z.zip": (9, "x"), "z.zip!/a.txt": (1, "o"), "wow!/b": (1, "p")})
    plan = diff(now, assets({}), ["s"])
    work = dict(zip(plan.work["uri"].to_pylist(), plan.work[TAKEN_COLUMN].to_pylist(), strict=True))
    assert work == {"z.zip": ["z.zip!/a.txt"], "z.zip!/a.txt": None, "wow!/b": None}
    later = diff(now, with_archive(), ["s"])
    assert "z.zip" in later.work["uri"].to_pylist(), "its member has the object's URI: it is read again"
    plain = diff(listed({"z.zip": (9, "x"), "wow!/b": (1, "p")}), assets({}), ["s"])
    assert TAKEN_COLUMN not in plain.work.column_names
