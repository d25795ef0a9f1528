"""What goes and what stays when a run ends: nothing is lost to a fault, and nothing is let go unseen."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from pipelines.outcome import Outcome
from pipelines.plan import DIFFED, diff
from pipelines.reconcile import Reconciled
from schemas.config import Policy
from schemas.errors import CoverageError
from schemas.tables import ASSETS
from tests.pipelines.test_plan import listed

ROW = {"source": "s", "size": 9, "etag": "x", "segments": 1, "tokens": 1, "run_id": "r"}


def row(uri: str, status: str = "embedded", **values: Any) -> dict[str, Any]:
    return {**ROW, "uri": uri, "status": status, "content_hash": f"hash of {uri}", **values}


def archive(members: int) -> list[dict[str, Any]]:
    inside = [row(f"z.zip!/{i}.txt", container="z.zip") for i in range(members)]
    return [row("z.zip", "expanded"), *inside]


def outcome(before: list[dict[str, Any]], ended: list[dict[str, Any]], etag: str = "new") -> Outcome:
    """A night over the objects of `before`, all of which have another etag."""
    old = pa.Table.from_pylist(before, schema=ASSETS)
    objects = [one["uri"] for one in before if not one.get("container")]
    plan = diff(listed(dict.fromkeys(objects, (9, etag))), old, ["s"])
    names = [name for name in ASSETS.names if name != "run_id"]
    result = pa.Table.from_pylist(ended, schema=ASSETS).select(names)
    moved = pl.DataFrame(pl.from_arrow(result.slice(0, 0)))
    result_of_run = Reconciled(result, moved, fragments=[], kept=[], kept_uris=moved["uri"])
    return Outcome(plan, result_of_run, pl.DataFrame(pl.from_arrow(old.select(DIFFED))))


def failed(uri: str, code: str, stage: str = "fetch", **values: Any) -> dict[str, Any]:
    return row(uri, "quarantined", **{"content_hash": None, **values}, error_code=code, error_stage=stage)


@pytest.mark.parametrize("code", ["storage", "not_found", "access_denied", "changed_while_reading"])
def test_an_archive_that_cannot_be_read_keeps_its_members(code: str) -> None:
    night = outcome(archive(3), [failed("z.zip", code)])
    assert night.kept["uri"].to_list() == ["z.zip"]
    assert (night.replaced, night.final.num_rows) == ([], 0)
    assert (night.counts().quarantined, night.counts().ended) == (1, 1)


def test_a_damaged_archive_that_cannot_be_read_keeps_what_came_out_of_it() -> None:
    rows = archive(2)
    rows[0].update(status="quarantined", error_code="corrupt", error_stage="decode")
    assert outcome(rows, [failed("z.zip", "storage")]).replaced == []


@pytest.mark.parametrize(
    "ended",
    [
        failed("a.txt", "corrupt", "decode", content_hash="other"),
        failed("a.txt", "embed_failed", "embed", content_hash="other"),
        failed("a.txt", "source_not_allowed"),
    ],
)
def test_what_was_read_and_is_another_keeps_nothing(ended: dict[str, Any]) -> None:
    night = outcome([row("a.txt")], [ended])
    assert (night.replaced, night.kept.height, night.final.num_rows) == (["a.txt"], 0, 1)


def test_the_same_bytes_that_the_model_failed_on_keep_their_vectors() -> None:
    ended = failed("a.txt", "embed_failed", "embed", content_hash="hash of a.txt")
    assert outcome([row("a.txt")], [ended]).replaced == []


def test_what_failed_in_the_same_way_before_says_nothing_new_and_costs_no_coverage() -> None:
    before = [row("a.txt", error_code="storage", error_stage="fetch")]
    night = outcome(before, [failed("a.txt", "storage")])
    assert night.changes_nothing()
    assert night.coverage is None
    assert not outcome(before, [failed("a.txt", "not_found")]).changes_nothing()


def test_members_that_an_archive_lost_are_deletions() -> None:
    before = archive(40)
    cut = failed("z.zip", "corrupt", "decode", content_hash="cut")
    left = [{**one, "etag": "new"} for one in before[1:3]]
    with pytest.raises(CoverageError, match="38 of the corpus' 41 assets"):
        outcome(before, [cut, *left]).check_deletions(Policy())
    outcome(before, [cut, *left]).check_deletions(Policy(max_deleted=1))
    outcome(before, [cut, *before[1:30]]).check_deletions(Policy())
