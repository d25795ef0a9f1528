"""Receipts add up to each segment once and each asset's outcome, whatever was repeated or lost."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.lake.receipts import RECEIPT, Receipt, Receipts
from operators.lake.tables import Table
from operators.storage import Storage, join
from pipelines.reconcile import Attempts
from schemas.errors import LakeError
from schemas.tables import DONORS_COLUMN, METADATA_DIGEST

ROWS = pa.schema([pa.field("uri", pa.string()), pa.field("segment_id", pa.string())])


def segment(uri: str, key: str, error: str | None = None, content: str = "h") -> dict[str, Any]:
    return {
        "kind": "segment",
        "uri": uri,
        "segment_id": key,
        "tokens": 5,
        "content_hash": content,
        "error_code": error,
        "error_stage": "embed" if error else None,
        "error_detail": "why" if error else None,
        "status": "quarantined" if error else None,
    }


def outcome(uri: str, segments: int, error: str | None = None, content: str = "h") -> dict[str, Any]:
    status = "quarantined" if error else "embedded"
    return {"kind": "asset", "uri": uri, "segments": segments, "status": status, "error_code": error,
            "content_hash": content, "source": "s"}  # fmt: skip


def receipt(name: str, rows: list[dict[str, Any]], fragments: list[str] | None = None) -> Receipt:
    columns = {f.name: pa.array([row.get(f.name) for row in rows], f.type) for f in RECEIPT}
    return Receipt(name, pa.table(columns, schema=RECEIPT), fragments or [], [])


def work(*uris: str, donors: list[str] | None = None) -> pa.Table:
    nothing = pa.nulls(len(uris), pa.string())
    size = pa.nulls(len(uris), pa.int64())
    known = pa.array([donors] * len(uris), pa.list_(pa.string()))
    return pa.table(
        {"uri": list(uris), METADATA_DIGEST: nothing, "size": size, "etag": nothing, DONORS_COLUMN: known}
    )


@pytest.fixture
def table(tmp_path: Path) -> Table:
    made = Table(str(tmp_path / "t.lance"), Storage())
    made.ensure(ROWS)
    return made


def staged(table: Table, name: str, rows: list[dict[str, Any]]) -> Receipt:
    good = [r for r in rows if r["kind"] == "segment" and not r["error_code"]]
    data = pa.table({n: [r[n] for r in good] for n in ROWS.names}, schema=ROWS)
    return receipt(name, rows, table.stage(data) if good else [])


def published(table: Table, receipts: list[Receipt], *uris: str) -> list[tuple[str, str]]:
    result = Attempts(receipts, work(*uris)).reconcile(table)
    version = table.commit("run", 1, result.fragments, [])
    return sorted((r["uri"], r["segment_id"]) for r in table.open(version).to_table().to_pylist())


def test_a_batch_staged_twice_is_published_once(table: Table) -> None:
    rows = [segment("a", "1"), segment("a", "2"), outcome("a", 2)]
    receipts = [staged(table, "r1", rows[:1]), staged(table, "r2", rows), staged(table, "r3", rows[1:])]
    assert published(table, receipts, "a") == [("a", "1"), ("a", "2")]


def test_segments_of_a_quarantined_asset_are_not_published(table: Table) -> None:
    rows = [segment("a", "1"), outcome("a", 0, "corrupt"), segment("b", "1"), outcome("b", 1)]
    receipts = [staged(table, "r1", rows)]
    assert published(table, receipts, "a", "b") == [("b", "1")]
    final = Attempts(receipts, work("a", "b")).reconcile(table).assets.to_pylist()
    assert {r["uri"]: (r["status"], r["segments"], r["tokens"]) for r in final} == {
        "a": ("quarantined", 0, 0),
        "b": ("embedded", 1, 5),
    }


def test_a_segment_that_the_model_failed_on_quarantines_its_asset_with_the_reason(table: Table) -> None:
    receipts = [staged(table, "r1", [segment("a", "1"), segment("a", "2", "embed_failed"), outcome("a", 2)])]
    (final,) = Attempts(receipts, work("a")).reconcile(table).assets.to_pylist()
    assert (final["status"], final["error_stage"], final["error_code"]) == (
        "quarantined",
        "embed",
        "embed_failed",
    )
    assert published(table, receipts, "a") == []


def test_a_segment_that_failed_once_and_was_staged_later_counts(table: Table) -> None:
    receipts = [
        staged(table, "r1", [segment("a", "1"), segment("a", "2", "embed_failed"), outcome("a", 2)]),
        staged(table, "r2", [segment("a", "2"), outcome("a", 2)]),
    ]
    assert published(table, receipts, "a") == [("a", "1"), ("a", "2")]


def test_a_lost_segment_refuses_to_publish(table: Table) -> None:
    receipts = [staged(table, "r1", [segment("a", "1"), outcome("a", 2)])]
    with pytest.raises(LakeError, match="1 assets have no outcome, a first"):
        Attempts(receipts, work("a")).reconcile(table)


def test_an_asset_without_outcome_refuses_to_publish(table: Table) -> None:
    with pytest.raises(LakeError, match="2 assets have no outcome"):
        Attempts([], work("a", "b")).reconcile(table)


def test_resume_leaves_out_what_ended_and_names_what_is_staged() -> None:
    receipts = [
        receipt("r1", [segment("done", "1"), outcome("done", 1), outcome("bad", 0, "corrupt")]),
        receipt("r2", [segment("half", "1"), outcome("flaky", 0, "storage")]),
    ]
    left, known = Attempts(receipts, work("done", "bad", "half", "flaky", "new")).remaining()
    assert left["uri"].to_pylist() == ["half", "flaky", "new"]
    assert known.select("uri", "segment_id").rows() == [("half", "1")]


def test_a_second_attempt_that_succeeded_outweighs_a_transient_failure(table: Table) -> None:
    receipts = [
        receipt("r1", [outcome("a", 0, "storage")]),
        staged(table, "r2", [segment("a", "1"), outcome("a", 1)]),
    ]
    assert published(table, receipts, "a") == [("a", "1")]


def test_rows_of_an_older_content_do_not_count(table: Table) -> None:
    receipts = [
        staged(table, "r1", [segment("a", "old", content="h1")]),
        staged(table, "r2", [segment("a", "new", content="h2"), outcome("a", 1, content="h2")]),
    ]
    assert published(table, receipts, "a") == [("a", "new")]


def test_a_run_that_stopped_on_purpose_publishes_what_has_ended(table: Table) -> None:
    receipts = [staged(table, "r1", [segment("a", "1"), outcome("a", 1), segment("b", "1"), outcome("b", 2)])]
    result = Attempts(receipts, work("a", "b", "c")).reconcile(table, partial=True)
    assert result.assets.column("uri").to_pylist() == ["a"]
    version = table.commit("run", 1, result.fragments, [])
    assert table.open(version).to_table()["uri"].to_pylist() == ["a"]


def test_an_archive_has_ended_when_all_of_its_members_have(table: Table) -> None:
    members = [{**row, "container": "z"} for row in (segment("z!/a", "1"), outcome("z!/a", 1))]
    failed = {**outcome("z!/b", 0, "corrupt"), "container": "z"}
    archive = {**outcome("z", 2), "status": "expanded"}
    early = Attempts([staged(table, "r1", [*members, archive])], work("z"))
    left, known = early.remaining()
    assert left["uri"].to_pylist() == ["z"]
    assert known.select("object", "uri", "segment_id").rows() == [("z", "z!/a", "1")]
    with pytest.raises(LakeError, match="1 assets have no outcome, z first"):
        early.reconcile(table)
    late = Attempts([*early.receipts, receipt("r2", [failed, archive])], work("z"))
    assert late.remaining()[0].num_rows == 0
    result = late.reconcile(table)
    rows = result.assets.select(["uri", "status", "segments"]).to_pylist()
    assert sorted(tuple(row.values()) for row in rows) == [
        ("z", "expanded", 0),
        ("z!/a", "embedded", 1),
        ("z!/b", "quarantined", 0),
    ]


def test_an_archive_with_a_member_that_may_do_better_is_read_again(table: Table) -> None:
    member = {**outcome("z!/a", 0, "embed_failed"), "container": "z"}
    archive = {**outcome("z", 1), "status": "expanded"}
    attempts = Attempts([receipt("r1", [member, archive])], work("z"))
    assert attempts.remaining()[0].num_rows == 1
    assert attempts.reconcile(table).assets.num_rows == 2


def test_members_of_an_archive_as_it_was_do_not_count(table: Table) -> None:
    old = [
        segment("z!/a", "1", content="h1"),
        outcome("z!/a", 1, content="h1"),
        segment("z!/b", "1"),
        outcome("z!/b", 1),
    ]
    new = [segment("z!/a", "2", content="h2"), outcome("z!/a", 1, content="h2")]
    receipts = []
    for name, rows, count in (("r1", old, 2), ("r2", new, 1)):
        archive = {**outcome("z", count), "status": "expanded", "etag": name}
        receipts.append(
            staged(table, name, [*({**row, "container": "z", "etag": name} for row in rows), archive])
        )
    now = work("z").set_column(3, "etag", pa.array(["r2"]))
    attempts = Attempts(receipts, now)
    assert attempts.reconcile(table).assets["uri"].to_pylist() == ["z!/a", "z"]
    version = table.commit("run", 1, attempts.reconcile(table).fragments, [])
    assert table.open(version).to_table().to_pylist() == [{"uri": "z!/a", "segment_id": "2"}]
    assert Attempts(receipts[:1], now).remaining()[0].num_rows == 1


def test_a_forgotten_member_is_cut_out(table: Table) -> None:
    rows = [segment("z!/a", "1"), outcome("z!/a", 1), segment("z!/b", "2"), outcome("z!/b", 1)]
    archive = {**outcome("z", 2), "status": "expanded"}
    receipts = [staged(table, "r1", [*({**row, "container": "z"} for row in rows), archive])]
    result = Attempts(receipts, work("z")).reconcile(table, forgotten=pl.Series(["z!/b"]))
    version = table.commit("run", 1, result.fragments, [])
    assert table.open(version).to_table()["uri"].to_pylist() == ["z!/a"]


def test_an_asset_with_a_known_content_is_moved_and_has_no_fragment(table: Table) -> None:
    moved = {**outcome("b", 0), "status": "moved"}
    receipts = [staged(table, "r1", [segment("a", "1"), outcome("a", 1), moved])]
    attempts = Attempts(receipts, work("a", "b", donors=["h"]))
    result = attempts.reconcile(table)
    assert result.assets.column("uri").to_pylist() == ["a"]
    assert result.moved.select("uri", "content_hash").rows() == [("b", "h")]
    assert attempts.remaining()[0].num_rows == 0


@pytest.mark.parametrize("donors", [None, ["other"], ["h.txt"]])
def test_an_asset_whose_donor_is_gone_is_embedded_after_all(table: Table, donors: list[str] | None) -> None:
    moved = {**outcome("b", 0), "status": "moved"}
    before = Attempts([receipt("r1", [moved])], work("b", donors=donors))
    assert before.remaining()[0]["uri"].to_pylist() == ["b"]
    after = Attempts(
        [*before.receipts, staged(table, "r2", [segment("b", "1"), outcome("b", 1)])], before.work
    )
    assert after.reconcile(table).moved.is_empty()


@pytest.mark.parametrize("status", ["moved", "expanded"])
@pytest.mark.parametrize("failed_first", [True, False])
def test_the_best_attempt_counts_whichever_came_first(table: Table, status: str, failed_first: bool) -> None:
    good, bad = {**outcome("b", 0), "status": status}, outcome("b", 0, "storage")
    rows = [bad, good] if failed_first else [good, bad]
    attempts = Attempts([receipt(str(i), [one]) for i, one in enumerate(rows)], work("b", donors=["h"]))
    (found,) = attempts.outcomes()["status"]
    assert found == status
    assert attempts.remaining()[0].num_rows == 0


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_and_repetition_of_batches_publishes_the_same_rows(
    tmp_path: Path, data: st.DataObject
) -> None:
    table = Table(tempfile.mkdtemp(dir=tmp_path) + "/t.lance", Storage())
    table.ensure(ROWS)
    counts = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    rows = [segment(f"u{i}", str(n)) for i, count in enumerate(counts) for n in range(count)]
    rows += [outcome(f"u{i}", count) for i, count in enumerate(counts)]
    order = data.draw(st.permutations(rows)) + data.draw(st.lists(st.sampled_from(rows), max_size=6))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=4)))
    batches = [order[a:b] for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True) if a < b]
    receipts = [staged(table, str(i), batch) for i, batch in enumerate(batches)]
    expected = sorted((f"u{i}", str(n)) for i, count in enumerate(counts) for n in range(count))
    assert published(table, receipts, *(f"u{i}" for i in range(len(counts)))) == expected


def test_a_receipt_round_trips_and_the_same_batch_has_one_name(place: str) -> None:
    receipts = Receipts(join(place, "receipts"), Storage())
    rows = receipt("", [segment("a", "1"), outcome("a", 1)]).rows
    assert receipts.write(rows, ["{}"]) == receipts.write(rows, ["{}"])
    (found,) = receipts.read_all()
    assert found.rows.equals(rows)
    assert found.fragments == ["{}"]
