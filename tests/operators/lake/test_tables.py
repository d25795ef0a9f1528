"""One commit makes a run visible, exactly once, on disk and on S3."""

from __future__ import annotations

from typing import Any

import lance
import pyarrow as pa
import pytest

from operators.lake.tables import Table
from operators.storage import Storage, join
from schemas.errors import ConflictError, LakeError

SCHEMA = pa.schema([pa.field("uri", pa.string()), pa.field("n", pa.int64())])


def rows(*uris: str) -> pa.Table:
    return pa.table({"uri": list(uris), "n": range(len(uris))}, schema=SCHEMA)


@pytest.fixture
def table(place: str) -> Table:
    made = Table(join(place, "t.lance"), Storage())
    made.ensure(SCHEMA)
    return made


def uris(table: Table, version: int | None = None) -> list[str]:
    return sorted(table.open(version).to_table()["uri"].to_pylist())


def test_staged_rows_are_invisible_until_the_commit(table: Table) -> None:
    staged = table.stage(rows("a", "b"))
    assert uris(table) == []
    version = table.commit("run-1", 1, staged, [])
    assert uris(table, version) == ["a", "b"]


def test_added_and_dropped_rows_appear_in_one_version(table: Table) -> None:
    first = table.commit("run-1", 1, table.stage(rows("a", "b", "it's")), [])
    second = table.commit("run-2", first, table.stage(rows("c")), ["a", "it's", "never there"])
    assert second == first + 1
    assert uris(table, first) == ["a", "b", "it's"]
    assert uris(table, second) == ["b", "c"]


def test_repeating_a_commit_that_landed_changes_nothing(table: Table) -> None:
    staged = table.stage(rows("a"))
    version = table.commit("run-1", 1, staged, [])
    assert table.commit("run-1", 1, staged, []) == version
    assert uris(table) == ["a"]


@pytest.mark.parametrize("landed", [False, True])
def test_a_commit_whose_answer_breaks_off_is_made_once(
    table: Table, landed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, broken = lance.LanceDataset.commit, [OSError("Error getting list response body: HTTP error")]

    def commit(*given: Any, **named: Any) -> Any:
        done = real(*given, **named) if landed or not broken else None
        if broken:
            raise broken.pop()
        return done

    monkeypatch.setattr(lance.LanceDataset, "commit", commit)
    assert table.commit("run-1", 1, table.stage(rows("a")), []) == 2
    assert not broken
    assert table.open().version == 2
    assert uris(table) == ["a"]


def test_versions_of_a_run_that_never_published_are_rolled_back(table: Table) -> None:
    table.commit("dead-run", 1, table.stage(rows("dead")), [])
    version = table.commit("run-2", 1, table.stage(rows("b")), [])
    assert uris(table, version) == ["b"]


def test_a_commit_that_was_rebased_onto_another_run_s_is_refused(table: Table) -> None:
    mine, theirs = table.stage(rows("a")), table.stage(rows("a", "b"))
    real = table.open

    def stale(version: int | None = None) -> object:
        head = real(version)
        if version is None and not table_moved:
            table_moved.append(Table(table.uri, table.storage).commit("run-2", 1, theirs, []))
        return head

    table_moved: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "landed", lambda *_: None)
        patch.setattr(
            Table, "open", lambda self, version=None: stale(version) if self is table else real(version)
        )
        with pytest.raises(ConflictError, match="at the same time"):
            table.commit("run-1", 1, mine, [])
    assert table.landed("run-1", 1) is None, "a mixture does not count as landed"
    version = table.commit("run-1", 1, mine, [])
    assert uris(table, version) == ["a"]
    assert uris(table, table_moved[0]) == ["a", "b"], "the other run's version is whole"


def test_nothing_to_change_is_no_new_version(table: Table) -> None:
    assert table.commit("run-1", 1, [], []) == 1
    assert table.open().version == 1


def test_rows_of_an_uncommitted_fragment_can_be_read_back(table: Table) -> None:
    (fragment,) = table.stage(rows("a", "b"))
    assert table.staged_rows(fragment).equals(rows("a", "b"))


def test_the_live_tag_moves(table: Table) -> None:
    version = table.commit("run-1", 1, table.stage(rows("a")), [])
    table.tag_live(1)
    table.tag_live(version)
    assert table.open().tags.list()["live"]["version"] == version


def test_ensure_opens_what_is_there(table: Table) -> None:
    version = table.commit("run-1", 1, table.stage(rows("a")), [])
    assert table.ensure(SCHEMA).version == version


def test_a_missing_table_is_one_clear_error(place: str) -> None:
    with pytest.raises(LakeError, match=r"cannot open table .*absent\.lance"):
        Table(join(place, "absent.lance"), Storage()).open()
