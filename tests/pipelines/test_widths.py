"""Width columns come and go without a model, and whoever reads or writes meanwhile stays right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.storage import Storage, join
from pipelines.forget import forget
from pipelines.maintenance import maintain
from pipelines.query import Query, Searcher
from pipelines.reader import LakeReader
from pipelines.widths import measure, resize
from schemas.errors import UsageError
from tests.pipelines.test_forget import pin
from tests.pipelines.wear import CORPUS, SPACE, SPEC, Worn, polled, texts

NAMES = [f"n{i}" for i in range(12)]


def columns(worn: Worn) -> list[int]:
    names = LakeReader.open(worn.lake).segments(CORPUS).schema.names
    return [int(n.removeprefix("embedding_")) for n in names if n.startswith("embedding_")]


def same(found: dict[str, list[dict[str, Any]]], wanted: dict[str, list[dict[str, Any]]]) -> None:
    """Equal rows; vectors up to the last bits of a cut."""
    assert found["assets"] == wanted["assets"]
    for one, other in zip(found["segments"], wanted["segments"], strict=True):
        assert one.keys() == other.keys()
        for name, value in one.items():
            if name.startswith("embedding_"):
                np.testing.assert_allclose(value, other[name], atol=1e-6)
            else:
                assert value == other[name]


def test_a_dropped_width_is_gone_for_nights_and_queries_and_comes_back_as_it_was(place: str) -> None:
    worn = Worn(join(place, "lake"))
    worn.night(texts(*NAMES))
    held = LakeReader.open(worn.lake)
    done = resize(worn.lake, CORPUS, SPACE.id, drop=(16,))
    assert (done.dropped, done.widths, columns(worn)) == ((16,), (32, 8), [32, 8])
    rows = 2 * len(NAMES)
    assert done.bytes_before - done.bytes > 0.9 * rows * 16 * 4, (
        "its bytes are in no file that is still needed"
    )
    assert held.segments(CORPUS).to_table(columns=["embedding_16"]).num_rows == rows, (
        "who has opened it reads on"
    )
    searcher = Searcher(LakeReader.open(worn.lake), CORPUS, SPEC)
    with pytest.raises(UsageError, match="width 16 is not in the lake; choose one of 32, 8"):
        searcher.search(Query(parts=(("text", "secretn1"),), width=16))
    more = texts(*NAMES[1:], "late")
    assert worn.night(more) == 2, "the space is the same, so only what is new is embedded"
    assert columns(worn) == [32, 8]
    back = resize(worn.lake, CORPUS, SPACE.id, add=(16,))
    assert (back.added, back.widths) == ((16,), (32, 16, 8))
    other = Worn(join(place, "other"))
    other.night(more)
    same(worn.rows(), other.rows())
    (hit, *_) = Searcher(LakeReader.open(worn.lake), CORPUS, SPEC).search(
        Query(parts=(("text", "secretlate one"),), width=16)
    )
    assert hit.uri == "s/late.txt"


def test_a_width_that_the_card_does_not_have_is_cut_for_old_rows_and_for_those_of_later_nights(
    tmp_path: Path,
) -> None:
    worn = Worn(str(tmp_path / "lake"))
    worn.night(texts(*NAMES))
    resize(worn.lake, CORPUS, SPACE.id, add=(12,), drop=(8,))
    worn.night(texts(*NAMES, "late"))
    for row in worn.rows()["segments"]:
        full, cut = (np.array(row[f"embedding_{w}"]) for w in (32, 12))
        np.testing.assert_allclose(cut, full[:12] / np.linalg.norm(full[:12]), atol=1e-6)
        assert "embedding_8" not in row
    assert LakeReader.open(worn.lake).space(CORPUS).id == SPACE.id


@pytest.mark.parametrize("dies", ["staging", "staged", "committed"])
def test_a_night_that_died_before_a_change_of_widths_is_made_anew_with_the_columns_of_now(
    tmp_path: Path, dies: Any
) -> None:
    worn, other = Worn(str(tmp_path / "lake")), Worn(str(tmp_path / "other"))
    for one in (worn, other):
        one.night(texts(*NAMES))
    worn.night(texts(*NAMES, "late", "later"), dies)
    resize(worn.lake, CORPUS, SPACE.id, add=(12,), drop=(16,))
    worn.night(texts(*NAMES, "late", "later"))
    resize(worn.lake, CORPUS, SPACE.id, add=(16,), drop=(12,))
    other.night(texts(*NAMES, "late", "later"))
    same(worn.rows(), other.rows())


def test_a_change_that_dies_before_its_entry_changes_nothing_for_readers_and_nights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn = Worn(str(tmp_path / "lake"))
    worn.night(texts(*NAMES))
    before = worn.rows()
    with monkeypatch.context() as patch:
        patch.setattr(CatalogLog, "append", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            resize(worn.lake, CORPUS, SPACE.id, drop=(16, 8), add=(12,))
    assert worn.rows() == before
    worn.night(texts(*NAMES[1:]))
    assert columns(worn) == [32, 16, 8]
    assert resize(worn.lake, CORPUS, SPACE.id, drop=(16, 8)).widths == (32,)


def test_readers_see_whole_columns_while_widths_change(tmp_path: Path) -> None:
    worn = Worn(str(tmp_path / "lake"))
    worn.night(texts(*NAMES))
    with polled(worn) as seen:
        for _ in range(4):
            resize(worn.lake, CORPUS, SPACE.id, drop=(16,))
            resize(worn.lake, CORPUS, SPACE.id, add=(16,))
    assert set(seen) == {2 * len(NAMES)}
    reader = LakeReader.open(worn.lake)
    vectors = reader.segments(CORPUS).to_table(columns=["embedding_16"])["embedding_16"]
    assert vectors.null_count == 0


def test_indices_of_other_columns_maintenance_and_forgetting_go_on_after_a_drop(tmp_path: Path) -> None:
    worn = Worn(str(tmp_path / "lake"))
    worn.night(texts(*NAMES))
    space = Table(worn.log().layout.space(CORPUS, SPACE.id), Storage())
    space.open().create_scalar_index("uri", "BTREE")
    space.open().create_index("embedding_8", "IVF_FLAT", num_partitions=1, metric="cosine")
    pin(worn, int(space.open().version))
    resize(worn.lake, CORPUS, SPACE.id, drop=(8,))
    table = LakeReader.open(worn.lake).segments(CORPUS)
    assert [(i.name, i.num_rows_indexed) for i in table.describe_indices()] == [("uri_idx", 2 * len(NAMES))]
    assert table.to_table(filter="uri = 's/n3.txt'").num_rows == 2
    maintain(worn.lake, CORPUS, days=0)
    forget(worn.lake, CORPUS, ["s/n3.txt"])
    assert b"secretn3" not in worn.bytes()
    assert columns(worn) == [32, 16]
    assert len(worn.rows()["segments"]) == 2 * len(NAMES) - 2


def test_each_width_is_measured_against_the_full_one(tmp_path: Path) -> None:
    worn = Worn(str(tmp_path / "lake"), batch=1000)
    worn.night(texts(*(f"m{i}" for i in range(100))))
    resize(worn.lake, CORPUS, SPACE.id, drop=(8,))
    reader = LakeReader.open(worn.lake)
    found = measure(reader, CORPUS, SPACE.id, further=(4,), queries=50)
    assert [(w.width, w.stored, w.bytes) for w in found.widths] == [
        (32, True, 200 * 32 * 4),
        (16, True, 200 * 16 * 4),
        (8, False, 200 * 8 * 4),
        (4, False, 200 * 4 * 4),
    ]
    recalls = [w.recall for w in found.widths]
    assert recalls[0] == 1
    assert recalls == sorted(recalls, reverse=True)
    assert recalls[-1] < recalls[1] < 1
    assert all(w.shortlist_recall >= w.recall for w in found.widths)
    assert measure(reader, CORPUS, SPACE.id, further=(4,), queries=50) == found, "seeded"


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"drop": (32,)}, "width 32 is the full one"),
        ({"drop": (12,)}, "width 12 cannot be dropped; the space has 32, 16, 8"),
        ({"add": (16,)}, "width 16 cannot be added; the space has 32, 16, 8"),
        ({"add": (33,)}, "width 33 cannot be cut from vectors of 32"),
        ({}, "nothing to drop and nothing to add"),
    ],
)
def test_what_cannot_be_dropped_or_added_is_said(tmp_path: Path, asked: dict[str, Any], why: str) -> None:
    worn = Worn(str(tmp_path / "lake"))
    worn.night(texts("a"))
    with pytest.raises(UsageError, match=why):
        resize(worn.lake, CORPUS, SPACE.id, **asked)
