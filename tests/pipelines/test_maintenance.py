"""Maintenance: fewer files, the same rows, one visible step, and no run loses what it staged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from operators.lake.tables import Table
from operators.storage import join
from pipelines.lease import held
from pipelines.ledger import Ledger
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from schemas.catalog import Maintained, Published
from schemas.errors import ConflictError, LakeError, UsageError
from tests.pipelines.wear import CORPUS, SPACE, Death, Worn, polled, texts


def in_use(lake: str) -> Worn:
    """Three nights: new assets, changed ones, deleted ones."""
    made = Worn(lake)
    first = texts(*"abcdefgh")
    made.night({**first, "s/broken.txt": "bad"})
    made.night({**first, **texts("b", "c", version="two"), "s/broken.txt": "bad"})
    made.night({**texts(*"defghijk"), **texts("b", version="two"), "s/broken.txt": "bad"})
    return made


@pytest.fixture
def worn(tmp_path: Path) -> Worn:
    return in_use(str(tmp_path / "lake"))


def test_rows_are_the_same_in_fewer_fragments_and_readers_move_in_one_entry(place: str) -> None:
    worn = in_use(join(place, "lake"))
    before, number = worn.rows(), worn.log().read().number
    earlier = LakeReader.open(worn.lake)
    done = maintain(worn.lake, CORPUS)
    assert worn.rows() == before
    assert LakeReader.open(worn.lake).space(CORPUS) == SPACE
    assert all(t.fragments < t.fragments_before for t in done.tables)
    entry = worn.log().read()
    assert (entry.number, done.catalog_entry) == (number + 1, number + 1)
    assert isinstance(entry.change, Maintained)
    assert earlier.segments(CORPUS).count_rows() == len(before["segments"]), (
        "who reads the old version goes on"
    )
    space = Table(worn.log().layout.space(CORPUS, SPACE.id), worn.storage)
    assert space.open().tags.list()["live"]["version"] == entry.corpora[CORPUS].spaces[SPACE.id].version


def test_a_reader_that_polls_sees_all_rows_throughout(worn: Worn) -> None:
    before = len(worn.rows()["segments"])
    with polled(worn) as seen:
        maintain(worn.lake, CORPUS)
    assert set(seen) == {before}


def test_a_second_maintenance_has_nothing_to_do(worn: Worn) -> None:
    maintain(worn.lake, CORPUS)
    again = maintain(worn.lake, CORPUS)
    assert again.catalog_entry is None
    assert json.loads(again.model_dump_json())["corpus"] == CORPUS


@pytest.mark.parametrize("point", ["staging", "staged", "committed"])
def test_a_run_that_died_before_maintenance_continues_after_it(worn: Worn, point: Death) -> None:
    tonight = {**texts(*"defghijklmnop"), **texts("b", version="two"), "s/broken.txt": "bad"}
    worn.night(tonight, dies=point)
    before = worn.rows()
    done = maintain(worn.lake, CORPUS, days=0)
    assert done.catalog_entry is not None
    assert worn.rows() == before, "what the dead run committed is not published by maintenance"
    embedded = worn.night(tonight)
    assert embedded == (10 - 3 if point == "staging" else 0), "nothing that was staged is embedded again"
    calm = Worn(worn.lake + "-calm")
    calm.night(tonight)
    assert worn.rows() == calm.rows()


def test_maintenance_does_not_start_while_a_run_holds_the_corpus(worn: Worn) -> None:
    number = worn.log().read().number
    with (
        held(worn.lake, CORPUS, worn.storage, "an embedding run"),
        pytest.raises(ConflictError, match="held by an embedding run"),
    ):
        maintain(worn.lake, CORPUS)
    assert worn.log().read().number == number


def test_a_run_that_publishes_after_losing_its_lease_to_maintenance_is_refused_and_continues(
    worn: Worn,
) -> None:
    tonight = {**texts(*"defghijkl"), **texts("b", version="two"), "s/broken.txt": "bad"}
    commit = Ledger.commit

    def overtaken(self: Ledger, *given: Any) -> Published:
        change = commit(self, *given)
        maintain(worn.lake, CORPUS)
        return change

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "commit", overtaken)
        with pytest.raises(ConflictError, match="nothing of this one was published"):
            worn.night(tonight)
    assert isinstance(worn.log().read().change, Maintained)
    assert worn.night(tonight) == 0, "its staged work is still there"
    assert {row["uri"] for row in worn.rows()["segments"]} >= {"s/l.txt", "s/d.txt"}


def test_a_maintenance_that_died_before_its_entry_is_undone_by_the_next_run(
    worn: Worn, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = worn.rows()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.maintenance._publish", _die)
        with pytest.raises(KeyboardInterrupt):
            maintain(worn.lake, CORPUS)
    assert worn.rows() == before
    worn.night({**texts(*"defghijkx"), **texts("b", version="two"), "s/broken.txt": "bad"})
    assert {row["uri"] for row in worn.rows()["segments"]} == {*(f"s/{name}.txt" for name in "bdefghijkx")}


def _die(*_: object) -> None:
    raise KeyboardInterrupt


def test_old_versions_go_once_readers_have_left_them_for_long_enough(worn: Worn) -> None:
    space = Table(worn.log().layout.space(CORPUS, SPACE.id), worn.storage)
    count = len(space.open().versions())
    maintain(worn.lake, CORPUS, days=7)
    assert len(space.open().versions()) >= count, "all are young"
    done = maintain(worn.lake, CORPUS, days=0)
    assert done.collected.bytes > 0
    live = LakeReader.open(worn.lake).segments(CORPUS)
    assert [v["version"] for v in space.open().versions()] == [live.version]


def test_mistakes_are_one_line(worn: Worn) -> None:
    with pytest.raises(UsageError, match="--days -1"):
        maintain(worn.lake, CORPUS, days=-1)
    with pytest.raises(LakeError, match="no corpus 'other'"):
        maintain(worn.lake, "other")
