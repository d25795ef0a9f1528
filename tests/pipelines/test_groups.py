"""Duplicates and clusters of a lake: found, published in one step, read by SQL, and gone with what they tell of."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lance.file import LanceFileReader

from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.storage import Storage, join
from pipelines import dedup as module
from pipelines.clusters import cluster
from pipelines.dedup import dedup
from pipelines.forget import forget
from pipelines.gc import collect
from pipelines.grouping import Request, SpaceRows
from pipelines.lease import held
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from pipelines.spaces import drop, promote
from pipelines.sql import query
from schemas.card import Modality
from schemas.catalog import Catalog, Grouped
from schemas.corpus import Backfill
from schemas.errors import ConflictError, LakeError, UsageError
from schemas.groups import Clustering, Deduplication, GroupKind, of
from tests.lakes import NOW, make_lake
from tests.models.hashed import DIM, HashSpec
from tests.pipelines.wear import CORPUS, SPACE, Killed, Worn, die_before, texts

DUPLICATES, CLUSTERS = GroupKind.DUPLICATES, GroupKind.CLUSTERS
COPY = "s/copy.txt"


def rows(lake: str, kind: GroupKind, corpus: str = CORPUS) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(LakeReader.open(lake).groups(corpus, kind).to_table()))


def told(made: Worn) -> set[str]:
    """Every value in any data file of the groups, of whatever version, deleted or not."""
    found: set[str] = set()
    for file in made.files("groups"):
        if "/data/" in file:
            options = made.storage.lance_options(file)
            table = LanceFileReader(file, storage_options=options).read_all().to_table()
            found |= {str(value) for row in table.to_pylist() for value in row.values()}
    return found


def worn(lake: str) -> Worn:
    """Six texts, and one with the words of the first."""
    made = Worn(lake)
    made.night({**texts(*"abcdef"), COPY: "secreta one"})
    return made


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return worn(str(tmp_path / "lake")).lake


def test_duplicates_are_one_version_of_a_table_that_sql_reads(place: str) -> None:
    lake = worn(join(place, "lake")).lake
    before = LakeReader.open(lake)
    found = dedup(lake, Request(width=16), 0.9)
    assert (found.groups, found.grouped_rows, found.redundant_rows, found.exact_rows) == (2, 4, 2, 0)
    assert (found.redundant_assets, found.redundant_bytes, found.exhaustive) == (1, 11, True)
    assert [[one.uri for one in group.examples] for group in found.largest] == [["s/a.txt", COPY]] * 2
    answer = query(
        LakeReader.open(lake),
        "select s.uri from demo s anti join (from demo__duplicates where not is_representative) d "
        "using (uri, segment_id)",
    )
    assert sorted(set(answer["uri"].to_pylist())) == sorted(texts(*"abcdef"))
    with pytest.raises(UsageError, match="demo__duplicates"):
        query(before, "from demo__duplicates")
    change = CatalogLog(Layout(lake), Storage()).read().change
    assert isinstance(change, Grouped)
    made = of(LakeReader.open(lake).groups(CORPUS, DUPLICATES).schema)
    assert isinstance(made, Deduplication)
    assert (made.threshold, made.width, made.rows, made.space) == (0.9, 16, 14, SPACE.id)


def test_clusters_hold_every_segment_and_say_what_they_are_about(place: str) -> None:
    lake = join(place, "lake")
    words = {f"sea{n}.txt": "harbour ships sail" for n in range(6)}
    words |= {f"wood{n}.txt": f"forest owls hunt {n}" for n in range(3)}
    make_lake(lake, words)
    found = cluster(lake, Request(), 2)
    assert [(one.cluster, one.rows) for one in found.clusters] == [(0, 6), (1, 3)]
    assert set((found.clusters[0].label or "").split(", ")) == {"harbour", "sail", "ships"}
    assert [one.uri for one in found.clusters[0].central] == ["sea0.txt", "sea1.txt", "sea2.txt"]
    table = rows(lake, CLUSTERS)
    assert sorted(table["uri"]) == sorted(words)
    assert table.filter("is_representative")["cluster"].to_list() == [0, 1]
    assert table.filter(pl.col("uri").str.starts_with("wood"))["label"].unique().len() == 1
    n = query(
        LakeReader.open(lake), "select count(*) as n from demo__clusters join demo using (uri, segment_id)"
    )
    assert n.to_pylist() == [{"n": 9}]
    assert isinstance(of(LakeReader.open(lake).groups("demo", CLUSTERS).schema), Clustering)


def test_segments_of_the_same_content_are_duplicates_whatever_their_number(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    words = {f"{n}.txt": f"word{n}" for n in range(6)}
    make_lake(lake, words, ids={"3.txt": "same", "1.txt": "same", "5.txt": "same"})
    found = dedup(lake, Request(), 1.0)
    assert (found.groups, found.grouped_rows, found.redundant_rows, found.exact_rows) == (1, 3, 2, 2)
    table = rows(lake, DUPLICATES)
    assert table["uri"].to_list() == ["1.txt", "3.txt", "5.txt"]
    assert table["is_representative"].to_list() == [True, False, False]
    assert table["group_id"].unique().to_list() == ["same"]
    assert (table["exact"].all(), table["group_rows"].to_list()) == (True, [3, 3, 3])


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_rows_changes_no_group_and_the_seed_no_duplicate(
    tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    random = np.random.default_rng(seed)
    base = random.standard_normal((12, DIM))
    noisy = np.repeat(base, 3, axis=0) + 0.02 * random.standard_normal((36, DIM))
    names = [f"{n // 3}-{n % 3}" for n in range(36)]
    answers, clusters = [], []
    for number in range(2):
        order = random.permutation(36)
        lake = str(tmp_path_factory.mktemp("lake"))
        make_lake(lake, {names[n]: "x" for n in order}, vectors=noisy[order].astype(np.float32))
        dedup(lake, Request(seed=number), 0.9)
        answers.append(rows(lake, DUPLICATES, "demo").drop("score").rows())
        cluster(lake, Request(seed=seed), 5)
        clusters.append(rows(lake, CLUSTERS, "demo").select("uri", "cluster").sort("uri").rows())
    assert answers[0] == answers[1]
    assert clusters[0] == clusters[1], "the order alone"
    assert {row[0] for row in answers[0]} == {f"{n}-0" for n in range(12)}
    assert all(row[0].split("-")[0] == row[1].split("-")[0] for row in answers[0])


def test_a_corpus_too_large_to_compare_whole_is_cut_into_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, random = str(tmp_path / "lake"), np.random.default_rng(5)
    base = random.standard_normal((100, DIM))
    noisy = np.concatenate([base, base + 0.02 * random.standard_normal((100, DIM))])
    names = {f"{'ab'[n // 100]}-{n % 100:03}": "x" for n in range(200)}
    make_lake(lake, names, vectors=noisy.astype(np.float32), ids={"b-007": "a-007"})
    whole = dedup(lake, Request(), 0.9)
    expected = rows(lake, DUPLICATES, "demo")
    monkeypatch.setattr(module, "_CELL_ROWS", 20)
    cut = dedup(lake, Request(), 0.9, exhaustive_rows=50)
    assert (cut.exhaustive, whole.recall) == (False, None)
    assert cut.recall is not None
    assert cut.recall > 0.95
    found = rows(lake, DUPLICATES, "demo")
    pairs = {(row["group_id"][2:], row["uri"][2:]) for row in found.to_dicts()}
    assert pairs <= {(row["group_id"][2:], row["uri"][2:]) for row in expected.to_dicts()}
    assert cut.groups >= round(cut.recall * whole.groups) - 1
    assert found.filter(pl.col("uri").str.ends_with("007")).height == 2
    assert of(LakeReader.open(lake).groups("demo", DUPLICATES).schema).model_dump()["cells"] == 10


def test_the_rows_of_a_sample_are_those_that_were_asked_for(lake: str) -> None:
    reader = LakeReader.open(lake)
    table = Table(reader.layout.space(CORPUS, SPACE.id), reader.storage).open()
    table.delete("uri = 's/c.txt'")
    log = CatalogLog(reader.layout, reader.storage)
    entry = json.loads(log.read().model_dump_json())
    entry["corpora"][CORPUS]["spaces"][SPACE.id]["version"] = table.latest_version
    reader = LakeReader(reader.layout, reader.storage, Catalog.model_validate(entry))
    found = SpaceRows.read(reader, Request(modality=Modality.TEXT))
    places = np.array([5, 0, 11, 3])
    taken = found.take(places, ["segment_id"])["segment_id"].to_pylist()
    assert taken == found.frame["segment_id"].gather(places).to_list()
    streamed = np.empty((len(found), DIM), np.float32)
    for at, batch in found.batches():
        streamed[at] = batch
    assert np.allclose(found.vectors(places), streamed[places], atol=1e-6)


def test_a_new_run_takes_the_place_of_the_earlier_one(lake: str) -> None:
    dedup(lake, Request(), 0.9)
    before = LakeReader.open(lake)
    assert dedup(lake, Request(), 0.999999).threshold == 0.999999
    cluster(lake, Request(), 2)
    assert of(before.groups(CORPUS, DUPLICATES).schema).model_dump()["threshold"] == 0.9
    assert before.groups(CORPUS, DUPLICATES).count_rows() == 4
    state = LakeReader.open(lake).corpus(CORPUS)[1].now
    assert set(state.groups) == {DUPLICATES, CLUSTERS}
    none = dedup(lake, Request(modality=Modality.TEXT), 1.0)
    assert none.groups == LakeReader.open(lake).groups(CORPUS, DUPLICATES).count_rows() // 2


def test_mistakes_are_named(lake: str) -> None:
    with pytest.raises(UsageError, match="--threshold"):
        dedup(lake, Request(), 1.5)
    with pytest.raises(UsageError, match="width 7 is not in the lake"):
        dedup(lake, Request(width=7))
    with pytest.raises(UsageError, match="no image segments"):
        dedup(lake, Request(modality=Modality.IMAGE))
    with pytest.raises(UsageError, match="-k 15 clusters cannot be made from 14 segments"):
        cluster(lake, Request(), 15)
    with pytest.raises(LakeError, match="no space 'x'"):
        cluster(lake, Request(space="x"))
    with pytest.raises(LakeError, match="`embedlake cluster` makes them"):
        LakeReader.open(lake).groups(CORPUS, CLUSTERS)
    with held(lake, CORPUS, Storage(), "a run"), pytest.raises(ConflictError, match="a run"):
        dedup(lake)


def test_forgetting_leaves_nothing_of_an_asset_in_any_group(place: str) -> None:
    made = worn(join(place, "lake"))
    dedup(made.lake, Request(), 0.9)
    dedup(made.lake, Request(), 0.95)
    cluster(made.lake, Request(), 3)
    gone = {row["segment_id"] for row in made.rows()["segments"] if row["uri"] == "s/a.txt"}
    before = rows(made.lake, CLUSTERS)
    assert {"s/a.txt", COPY, *gone} <= told(made)
    assert any("secreta" in (label or "") for label in before["label"])
    forget(made.lake, CORPUS, ["s/a.txt", COPY])
    left = told(made)
    assert not left & {"s/a.txt", COPY, *gone}
    assert not any("secreta" in value for value in left)
    assert b"secreta" not in made.bytes()
    assert rows(made.lake, DUPLICATES).height == 0
    clusters = rows(made.lake, CLUSTERS)
    kept = before.filter(~pl.col("uri").is_in(["s/a.txt", COPY]))
    assert clusters.drop("label").equals(kept.drop("label"))
    touched = set(before.filter(pl.col("uri") == "s/a.txt")["cluster"])
    assert set(clusters.filter(pl.col("label").is_null())["cluster"]) >= touched & set(clusters["cluster"])


def test_forgetting_one_of_a_group_ends_the_group_and_leaves_the_others(lake: str) -> None:
    made = Worn(lake)
    made.night({**texts(*"abcdef"), COPY: "secreta one", "s/copy-b.txt": "secretb one"})
    dedup(lake, Request(), 0.9)
    assert rows(lake, DUPLICATES)["uri"].n_unique() == 4
    forget(lake, CORPUS, [COPY])
    assert set(rows(lake, DUPLICATES)["uri"]) == {"s/b.txt", "s/copy-b.txt"}
    forget(lake, CORPUS, ["s/c.txt"])
    assert set(rows(lake, DUPLICATES)["uri"]) == {"s/b.txt", "s/copy-b.txt"}


@pytest.mark.parametrize("step", [3, 5, 7, 9, 12, 16])
def test_an_erasure_killed_anywhere_is_completed_in_the_groups_too(
    lake: str, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Worn(lake)
    dedup(lake, Request(), 0.9)
    cluster(lake, Request(), 3)
    gone = {row["segment_id"] for row in made.rows()["segments"] if row["uri"] == "s/a.txt"}
    assert {"s/a.txt", *gone} <= told(made)
    with monkeypatch.context() as patch:
        die_before(patch, step)
        with pytest.raises(Killed):
            forget(lake, CORPUS, ["s/a.txt"])
    maintain(lake, CORPUS)
    assert rows(lake, DUPLICATES).height == 0
    assert set(rows(lake, CLUSTERS)["uri"]) == {COPY, *texts(*"bcdef")}
    assert not told(made) & {"s/a.txt", *gone}


def test_upkeep_keeps_the_groups_and_collects_those_that_readers_left(lake: str) -> None:
    made = Worn(lake)
    for threshold in (0.9, 0.95, 0.9):
        dedup(lake, Request(), threshold)
    cluster(lake, Request(), 3)
    expected = rows(lake, DUPLICATES), rows(lake, CLUSTERS)
    collect(lake, days=0)
    maintain(lake, CORPUS, days=0)
    found = rows(lake, DUPLICATES), rows(lake, CLUSTERS)
    assert all(a.equals(b) for a, b in zip(found, expected, strict=True))
    table = Table(made.log().layout.groups(CORPUS, SPACE.id, DUPLICATES), made.storage)
    assert len(table.open().versions()) == 1


def test_a_run_that_died_before_it_published_changed_nothing_and_its_table_is_collected(
    lake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Worn(lake)
    files = made.files("groups")
    with monkeypatch.context() as patch:
        die_before(patch, 2)
        with pytest.raises(Killed):
            dedup(lake, Request(), 0.9)
    assert made.files("groups") != files
    assert not LakeReader.open(lake).corpus(CORPUS)[1].now.groups
    collect(lake, days=0)
    assert made.files("groups") == []
    dedup(lake, Request(), 0.9)
    state = LakeReader.open(lake).corpus(CORPUS)[1].now.groups
    with monkeypatch.context() as patch:
        die_before(patch, 2)
        with pytest.raises(Killed):
            dedup(lake, Request(), 1.0)
    assert LakeReader.open(lake).corpus(CORPUS)[1].now.groups == state
    maintain(lake, CORPUS, days=0)
    assert rows(lake, DUPLICATES).height == 4


def test_groups_stay_as_they_were_made_when_a_night_changes_the_rows(lake: str) -> None:
    made = Worn(lake)
    dedup(lake, Request(), 0.9)
    made.night(texts(*"abcd"))
    reader = LakeReader.open(lake)
    told = of(reader.groups(CORPUS, DUPLICATES).schema)
    assert told.space_version < reader.catalog.corpora[CORPUS].now.version
    assert set(rows(lake, DUPLICATES)["uri"]) == {"s/a.txt", COPY}
    assert dedup(lake, Request(), 0.9).groups == 0


def test_groups_of_a_space_that_moved_meanwhile_are_not_published(lake: str) -> None:
    log = CatalogLog(Layout(lake), Storage())
    base = log.read()
    change = Grouped(corpus=CORPUS, space=SPACE.id, group=CLUSTERS, version=1, at=NOW)
    Worn(lake).night(texts(*"ab"))
    with pytest.raises(ConflictError, match="nothing of this one was published"):
        log.append(base, change)
    assert log.read().corpora[CORPUS].now.groups == {}


def test_groups_belong_to_their_space_and_go_with_it(lake: str) -> None:
    made, other = Worn(lake), Worn(lake, spec=HashSpec("other"), backfill=Backfill(model="other"))
    other.night({**texts(*"abcdef"), COPY: "secreta one"})
    dedup(lake, Request(), 0.9)
    promote(lake, CORPUS, other.space.id, force=True)
    with pytest.raises(UsageError, match="demo__duplicates"):
        query(LakeReader.open(lake), "from demo__duplicates")
    assert LakeReader.open(lake).groups(CORPUS, DUPLICATES, SPACE.id).count_rows() == 4
    dedup(lake, Request(space=SPACE.id[:6]), 0.9)
    cluster(lake, Request(), 2)
    drop(lake, CORPUS, SPACE.id)
    assert {name.split("/groups/")[1].partition(".")[0] for name in made.files("groups")} == {
        f"{other.space.id}-clusters"
    }
    assert query(LakeReader.open(lake), "select count(*) as n from demo__clusters").to_pylist() == [{"n": 14}]


def test_a_catalog_from_before_there_were_groups_still_reads(lake: str) -> None:
    log = CatalogLog(Layout(lake), Storage())
    entry = json.loads(log.read().model_dump_json())
    for state in entry["corpora"][CORPUS]["spaces"].values():
        del state["groups"]
    Storage().put(log.uri(entry["number"]), json.dumps(entry).encode())
    assert LakeReader.open(lake).corpus(CORPUS)[1].now.groups == {}
    assert dedup(lake, Request(), 0.9).groups == 2
