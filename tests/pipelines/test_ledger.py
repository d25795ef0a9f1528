"""What is published is published, whatever fails after the catalog has moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators.lake.layout import Layout
from operators.lake.tables import Table
from operators.storage import Storage
from tests.pipelines.wear import CORPUS, SPACE, Worn, texts


def test_a_tag_that_cannot_be_moved_leaves_the_night_published_and_the_next_one_moves_it(
    tmp_path: Path,
) -> None:
    worn = Worn(f"{tmp_path}/lake")
    worn.night(texts("a"))
    move, first = Table.tag_live, worn.log().read().corpora[CORPUS].now.version

    def behind(table: Table, version: int) -> None:
        if version != first:
            raise OSError("the answer broke off")
        move(table, version)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Table, "tag_live", behind)
        worn.night(texts("a", "b"))
    published = worn.log().read().corpora[CORPUS].now.version
    table = Table(Layout(worn.lake).space(CORPUS, SPACE.id), Storage())
    assert table.open().tags.list()["live"]["version"] < published
    worn.night(texts("a", "b"))
    assert table.open().tags.list()["live"]["version"] == published


def test_an_answer_of_storage_that_breaks_off_is_asked_for_again(tmp_path: Path) -> None:
    worn = Worn(f"{tmp_path}/lake")
    broken = [OSError("LanceError(IO): response body error"), OSError("Error getting list response body")]
    worn.night(texts("a"))
    table = Table(Layout(worn.lake).space(CORPUS, SPACE.id), Storage())

    def opened(*given: object, **named: object) -> object:
        if broken:
            raise broken.pop()
        return real(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        real = table.open.__globals__["lance"].dataset
        patch.setattr("operators.lake.tables.lance.dataset", opened)
        assert table.open().count_rows() == 2
    assert not broken
