"""Indices: measured, published at once, kept through nights, upkeep and erasure; and a search by them is a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from operators.lake.indices import default_kind, indexed_columns, partitions
from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.model.contract import ModelSpec
from operators.storage import Storage
from pipelines import index, maintenance
from pipelines.finding import Stage
from pipelines.forget import forget
from pipelines.index import IndexJob
from pipelines.maintenance import maintain
from pipelines.query import Hit, Query, Searcher
from pipelines.reader import LakeReader
from pipelines.widths import resize
from schemas.catalog import Catalog
from schemas.errors import UsageError
from schemas.space import Space
from tests.lakes import SPEC, make_lake
from tests.pipelines.wear import Worn, texts

WORDS = ("cat", "boat", "tree", "rain", "stone", "bread", "wind", "lamp")
COUNT = 1500


def many(count: int = COUNT) -> dict[str, str]:
    rng = np.random.default_rng(0)
    return {f"{n:04d}.txt": f"n{n} " + " ".join(rng.choice(WORDS, 6)) for n in range(count)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Space]:
    lake = str(tmp_path_factory.mktemp("index") / "lake")
    space = make_lake(lake, many())
    IndexJob(lake=lake, corpus="demo", space=space.id, kind="IVF_PQ", width=16).build()
    return lake, space


@pytest.fixture
def searcher(built: tuple[str, Space]) -> Searcher:
    return Searcher(LakeReader.open(built[0]), None, cast(ModelSpec, SPEC))


def asked(words: str, **how: Any) -> Query:
    return Query(parts=(("text", words),), **how)


def uris(hits: list[Hit]) -> list[str]:
    return [hit.uri for hit in hits]


def test_what_is_measured_is_what_a_search_gets(searcher: Searcher) -> None:
    finder = searcher.reader.catalog.corpora["demo"].now.finder
    assert finder is not None
    assert (finder.width, finder.kind, finder.rows, finder.k) == (16, "IVF_PQ", COUNT, 10)
    assert 0.5 < finder.recall <= 1
    kept = []
    for word in range(40):
        query = asked(f"n{word} {WORDS[word % 8]} {WORDS[word % 5]}")
        found, truth = searcher.search(query), searcher.search(Query(parts=query.parts, exact=True))
        kept.append(len(set(uris(found)) & set(uris(truth))) / 10)
        by_uri = {hit.uri: hit.score for hit in truth}
        for hit in found:
            assert hit.score == pytest.approx(by_uri.get(hit.uri, hit.score), abs=1e-5)
        assert [hit.score for hit in found] == sorted((hit.score for hit in found), reverse=True)
    assert np.mean(kept) > finder.recall - 0.1


def test_a_search_tells_what_each_stage_read(searcher: Searcher) -> None:
    stages: list[Stage] = []
    hits = searcher.search(asked("n7 cat"), stages)
    assert [stage.stage for stage in stages] == ["embed", "find", "rank", "read"]
    finder = searcher.reader.catalog.corpora["demo"].now.finder
    assert finder
    assert stages[1].over.startswith(f"IVF_PQ of embedding_16, {finder.probes} of {finder.partitions}")
    assert [stage.rows for stage in stages[1:]] == [10 * finder.candidates, 10 * finder.candidates, len(hits)]
    assert all(stage.bytes_read > 0 and stage.ms > 0 for stage in stages[2:])
    exact: list[Stage] = []
    searcher.search(asked("n7 cat", exact=True), exact)
    assert [(stage.stage, stage.over) for stage in exact[1:]] == [("scan", "every row's embedding_32")]


@pytest.mark.parametrize("width", [None, 16, 8])
def test_every_width_ranks_by_itself_and_a_narrower_one_compares_all(
    searcher: Searcher, width: int | None
) -> None:
    stages: list[Stage] = []
    first = searcher.search(asked("n7 cat", width=width), stages)[0]
    assert first.uri == searcher.search(asked("n7 cat", width=width, exact=True))[0].uri
    assert [stage.stage for stage in stages[1:]] == (["scan"] if width == 8 else ["find", "rank", "read"])


def test_a_filter_finds_as_many_as_there_are(searcher: Searcher) -> None:
    some = ", ".join(f"'{n:04d}.txt'" for n in range(0, COUNT, 100))
    hits = searcher.search(asked("cat", where=f"uri IN ({some})", limit=10))
    truth = searcher.search(asked("cat", where=f"uri IN ({some})", limit=10, exact=True))
    assert len(hits) == 10
    assert len(set(uris(hits)) & set(uris(truth))) >= 8
    assert searcher.search(asked("cat", where="uri = 'none'")) == []
    with pytest.raises(UsageError, match="--where"):
        searcher.search(asked("cat", where="nofun(uri) = 1"))


def test_words_lift_a_row_that_the_vectors_would_not(searcher: Searcher) -> None:
    query = asked("n1234")
    (hit, *_) = searcher.search(Query(parts=query.parts, hybrid=True))
    assert hit.text is not None
    assert hit.text.startswith("n1234 ")
    assert hit.fused is not None
    assert hit.fused > 1 / 62
    with pytest.raises(UsageError, match="--hybrid fuses with the words"):
        searcher.nearest(searcher.embed(query.parts), Query(parts=(("image", "a.png"),), hybrid=True))


def test_words_are_found_without_an_index_over_them(tmp_path: Path) -> None:
    make_lake(str(tmp_path / "lake"), many(50))
    plain = Searcher(LakeReader.open(str(tmp_path / "lake")), None, cast(ModelSpec, SPEC))
    stages: list[Stage] = []
    (hit, *_) = plain.search(asked("n33", hybrid=True, limit=3), stages)
    assert hit.uri == "0033.txt"
    assert [(one.stage, one.over) for one in stages[1:3]] == [
        ("find", "every row's embedding_32"),
        ("words", "every row's text"),
    ]


@pytest.mark.parametrize("how", [{}, {"exact": True}, {"hybrid": True}])
def test_each_asset_is_a_hit_once_when_that_is_asked(tmp_path: Path, how: dict[str, bool]) -> None:
    worn = Worn(str(tmp_path / "lake"))
    worn.night(texts(*"abcdefgh"))
    reader = LakeReader.open(worn.lake)
    searcher = Searcher(reader, None, cast(ModelSpec, worn.spec))
    hits = searcher.search(asked("secretc one part1", by_asset=True, limit=5, **how))
    assert len(uris(hits)) == len(set(uris(hits))) == 5
    assert (hits[0].uri, hits[0].row["ordinal"]) == ("s/c.txt", 1)
    assert len(searcher.search(asked("one", by_asset=True, limit=50, **how))) == 8


def test_indices_stay_through_nights_upkeep_and_erasure(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    worn = Worn(lake, batch=256)
    before = texts(*(f"{n:03d}" for n in range(200)))
    worn.night(before)
    job = IndexJob(lake=lake, corpus="demo", space=worn.space.id, kind="IVF_PQ", width=16)
    assert "text" in job.build().columns
    worn.night({**before, **texts("new", version="two")})
    maintain(lake)

    def found(words: str, **how: Any) -> list[str]:
        searcher = Searcher(LakeReader.open(lake), None, cast(ModelSpec, worn.spec))
        return uris(searcher.search(asked(words, **how)))

    for how in ({}, {"hybrid": True}):
        assert found("secretnew two part0", **how)[0] == "s/new.txt"
        assert found("secret007 one part0", **how)[0] == "s/007.txt"
    columns = indexed_columns(LakeReader.open(lake).segments("demo"))
    assert {"text", "modality", "uri", "embedding_16"} <= set(columns)
    forget(lake, "demo", ["s/007.txt"])
    assert "s/007.txt" not in found("secret007 one part0", hybrid=True)
    assert b"secret007" not in worn.bytes()
    assert indexed_columns(LakeReader.open(lake).segments("demo")) == columns


def test_a_table_that_has_outgrown_its_index_gets_another(tmp_path: Path) -> None:
    worn = Worn(str(tmp_path / "lake"), batch=512)
    some = texts(*(f"{n:03d}" for n in range(150)))
    worn.night(some)
    IndexJob(lake=worn.lake, corpus="demo", space=worn.space.id, kind="IVF_PQ", width=16).build()
    worn.night({**some, **texts(*(f"{n:03d}" for n in range(150, 350)))})
    maintain(worn.lake)
    finder = LakeReader.open(worn.lake).catalog.corpora["demo"].now.finder
    assert finder is not None
    assert (finder.rows, finder.kind, finder.width) == (700, "IVF_PQ", 16)


def test_a_small_table_gets_no_index_over_vectors_unless_one_is_named(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    space = make_lake(lake, many(100))
    done = IndexJob(lake=lake, corpus="demo", space=space.id).build()
    assert done.finder is None
    assert "text" in done.columns
    with pytest.raises(UsageError, match=r"IVF_RQ is trained on 256 rows, and space .* has 100"):
        IndexJob(lake=lake, corpus="demo", space=space.id, kind="IVF_RQ").build()
    with pytest.raises(UsageError, match="width 7 is not in the space; choose one of 32, 16, 8"):
        IndexJob(lake=lake, corpus="demo", space=space.id, width=7).build()
    dropped = IndexJob(lake=lake, corpus="demo", space=space.id).drop()
    assert (dropped.finder, dropped.columns) == (None, ())


def test_a_dropped_width_takes_its_finder_along(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    space = make_lake(lake, many(400))
    IndexJob(lake=lake, corpus="demo", space=space.id, kind="IVF_PQ", width=16).build()
    resize(lake, "demo", space.id, drop=[16])
    reader = LakeReader.open(lake)
    assert reader.catalog.corpora["demo"].now.finder is None
    assert (
        uris(Searcher(reader, None, cast(ModelSpec, SPEC)).search(asked(many()["0005.txt"])))[0] == "0005.txt"
    )


def test_a_catalog_of_before_is_still_read(built: tuple[str, Space]) -> None:
    entry = CatalogLog(Layout(built[0]), Storage()).read()
    old = entry.model_dump(mode="json", exclude={"change": True})
    del old["corpora"]["demo"]["spaces"][built[1].id]["finder"]
    assert Catalog.model_validate(old).corpora["demo"].now.finder is None


def test_partitions_grow_with_the_rows() -> None:
    assert [partitions(rows, "IVF_RQ") for rows in (256, 100_000, 10_000_000)] == [1, 316, 3162]
    assert [partitions(rows, "IVF_HNSW_SQ") for rows in (256, 100_000, 10_000_000)] == [1, 1, 10]


def test_a_corpus_that_shrinks_is_maintained_without_an_index(tmp_path: Path) -> None:
    worn = Worn(str(tmp_path / "lake"), batch=512)
    worn.night(texts(*(f"{n:03d}" for n in range(150))))
    IndexJob(lake=worn.lake, corpus="demo", space=worn.space.id, kind="IVF_PQ", width=16).build()
    worn.night(texts("000"))
    maintain(worn.lake)
    reader = LakeReader.open(worn.lake)
    assert reader.catalog.corpora["demo"].now.finder is None
    assert "embedding_16" not in indexed_columns(reader.segments("demo"))


def test_a_corpus_that_grows_gets_the_index_that_it_was_too_small_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn = Worn(str(tmp_path / "lake"), batch=512)
    for module in (index, maintenance):
        monkeypatch.setattr(module, "LEAST_ROWS", 300)
    some = texts(*(f"{n:03d}" for n in range(100)))
    worn.night(some)
    maintain(worn.lake)
    assert IndexJob(lake=worn.lake, corpus="demo", space=worn.space.id).build().finder is None
    worn.night({**some, **texts(*(f"{n:03d}" for n in range(100, 200)))})
    maintain(worn.lake)
    finder = LakeReader.open(worn.lake).catalog.corpora["demo"].now.finder
    assert finder is not None
    assert (finder.kind, finder.rows) == ("IVF_RQ", 400)


def test_a_width_of_odd_bits_gets_another_kind(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    space = make_lake(lake, many(400))
    resize(lake, "demo", space.id, add=[12])
    with pytest.raises(UsageError, match="IVF_RQ wants a width that 8 divides, and 12 is none"):
        IndexJob(lake=lake, corpus="demo", space=space.id, kind="IVF_RQ", width=12).build()
    assert default_kind(12) == "IVF_PQ"
    assert default_kind(16) == "IVF_RQ"


def test_equal_rows_do_not_spoil_what_is_measured(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    space = make_lake(lake, {**many(700), **{f"same{n}.txt": "all the same" for n in range(300)}})
    done = IndexJob(lake=lake, corpus="demo", space=space.id, kind="IVF_PQ", width=32).build()
    assert done.finder is not None
    assert done.finder.queries < 180
    assert done.finder.recall >= 0.98


def test_few_hits_are_looked_for_as_far_as_was_measured(searcher: Searcher) -> None:
    finder = searcher.reader.catalog.corpora["demo"].now.finder
    assert finder is not None
    stages: list[Stage] = []
    searcher.search(asked("n7 cat", limit=1), stages)
    assert [stage.rows for stage in stages[1:]] == [10 * finder.candidates, 10 * finder.candidates, 1]


def test_a_filter_that_leaves_few_rows_compares_them_all(searcher: Searcher) -> None:
    stages: list[Stage] = []
    searcher.search(asked("cat", where="uri < '0100.txt'"), stages)
    assert [stage.stage for stage in stages] == ["embed", "scan"]
