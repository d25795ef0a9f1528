"""Search in the middle of a migration: every asset once, by the space that holds it, on one scale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ir_measures import Qrel, ScoredDoc, calc_aggregate, nDCG
from PIL import Image

from pipelines import migration
from pipelines.backfill import BackfillJob
from pipelines.bridge import Bridge
from pipelines.embed import EmbedJob
from pipelines.migration import Halves, MigrationSearcher
from pipelines.query import Hit, Query, Searcher
from pipelines.reader import LakeReader
from schemas.config import Policy, RunConfig
from schemas.corpus import Backfill
from schemas.errors import UsageError
from tests.models.salted import SaltedSpec
from tests.operators.decode.clips import audio, tone
from tests.pipelines.wear import CORPUS, SPACE, SPEC, Worn

NEW = SaltedSpec("new")
WORDS = [f"w{n}" for n in range(160)]


def texts(count: int, seed: int = 0) -> dict[str, str]:
    """Each of six words of a small vocabulary, so that many share some."""
    rng = np.random.default_rng(seed)
    return {f"s/{n:03d}.txt": " ".join(rng.choice(WORDS, 6, replace=False)) for n in range(count)}


def moving(folder: Path, given: dict[str, str], share: float, seed: int = 0) -> tuple[Worn, Worn]:
    """A lake of which a seeded share is in the new space, too."""
    live = Worn(str(folder / "lake"), batch=1000)
    live.night(given)
    beside = Worn(live.lake, spec=NEW, backfill=Backfill(model="new"), batch=1000)
    chosen = np.random.default_rng(seed).permutation(sorted(given))[: round(share * len(given))]
    beside.night({uri: given[uri] for uri in chosen})
    return live, beside


def searcher(worn: Worn, beside: Worn) -> MigrationSearcher:
    reader = LakeReader.open(worn.lake)
    return MigrationSearcher(
        reader, *(Searcher(reader, CORPUS, one.spec, one.space.id) for one in (worn, beside))
    )


def asked(words: str, limit: int = 10) -> Query:
    return Query(parts=(("text", words),), limit=limit)


def by_asset(hits: list[Hit]) -> dict[str, float]:
    best: dict[str, float] = {}
    for hit in hits:
        best[hit.uri] = max(hit.score, best.get(hit.uri, -9.0))
    return best


def test_each_asset_is_found_once_in_the_space_that_holds_it_as_it_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = texts(80)
    live, beside = moving(tmp_path, given, 0.5)
    held = {
        row["uri"]
        for row in LakeReader.open(live.lake).assets(CORPUS, beside.space.id).to_table().to_pylist()
    }
    changed, gone = sorted(held)[:2]
    del given[gone]
    given[changed] = "quite another thing"
    live.night(given)
    both = searcher(live, beside)
    assert {changed, gone} == set(both.halves.stale["uri"])
    hits = both.search(asked(given[changed], limit=500))
    assert len(hits) == len({(hit.uri, hit.row["ordinal"]) for hit in hits}) == 2 * len(given)
    assert {hit.uri for hit in hits if hit.space == beside.space.id} == held - {changed, gone}
    assert hits[0].uri == changed
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    found = [(hit.uri, hit.score) for hit in both.search(asked("w1 w2 w3"))]
    monkeypatch.setattr(migration, "_FEW", 0)
    assert [(hit.uri, hit.score) for hit in both.search(asked("w1 w2 w3"))] == found, "with no filter by name"


def test_hits_of_the_new_space_keep_their_score_and_the_others_keep_their_order(tmp_path: Path) -> None:
    live, beside = moving(tmp_path, texts(80), 0.5)
    both, query = searcher(live, beside), asked("w1 w2 w3", limit=500)
    hits = both.search(query)
    alone = {(h.uri, h.row["ordinal"]): h.score for h in both.new.search(query)}
    assert all(h.score == alone[h.uri, h.row["ordinal"]] for h in hits if h.space == beside.space.id)
    old = [(h.uri, h.row["ordinal"]) for h in both.old.search(query)]
    left = [(h.uri, h.row["ordinal"]) for h in hits if h.space == SPACE.id]
    assert left == [key for key in old if key in set(left)]


def test_before_and_after_the_migration_one_space_answers_alone(tmp_path: Path) -> None:
    given, query = texts(60), asked("w1 w2 w3")
    live, beside = moving(tmp_path, given, 0.1)
    both = searcher(live, beside)
    assert both.search(query) == both.old.search(query), "six assets say too little to calibrate by"
    beside.night(given)
    both = searcher(live, beside)
    assert both.search(query) == both.new.search(query)
    with pytest.raises(UsageError, match="wants two spaces"):
        MigrationSearcher(both.reader, both.old, both.old)


def test_embedded_again_the_best_of_the_old_space_have_the_scores_that_the_new_one_will_give(
    tmp_path: Path,
) -> None:
    given = texts(60)
    live, beside = moving(tmp_path, given, 0.5)
    query = asked("w1 w2 w3", limit=200)
    found = searcher(live, beside).search(query, rerank=200)
    beside.night(given)
    final = {(h.uri, h.row["ordinal"]): h.score for h in searcher(live, beside).search(query)}
    assert len(found) == len(final) == 120
    assert all(h.score == pytest.approx(final[h.uri, h.row["ordinal"]], abs=1e-5) for h in found)


def test_a_bridge_finds_every_row_once_and_what_has_moved_by_its_own_score(tmp_path: Path) -> None:
    live, beside = moving(tmp_path, texts(160), 0.5)
    plain = searcher(live, beside)
    both = MigrationSearcher(plain.reader, plain.old, plain.new, bridge=True)
    query = asked("w1 w2 w3", limit=500)
    hits, others = both.search(query), plain.search(query)
    keys = {(hit.uri, hit.row["ordinal"]): hit for hit in hits}
    assert len(hits) == len(keys) == 320
    assert keys.keys() == {(hit.uri, hit.row["ordinal"]) for hit in others}
    for hit in others:
        same = keys[hit.uri, hit.row["ordinal"]].score == hit.score
        assert same == (hit.space == beside.space.id)
    assert both.search(query) == hits
    few = Halves(both.halves.held[:30], both.halves.left, both.halves.stale)
    both = MigrationSearcher(plain.reader, plain.old, plain.new, bridge=True, halves=few)
    with pytest.raises(UsageError, match="wants 100 segments that both spaces hold"):
        both.search(query)


def test_a_linear_relation_between_two_spaces_is_found_and_a_bridge_then_ranks_as_the_new_space_would(
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    old = rng.standard_normal((400, 24)).astype(np.float32)
    old /= np.linalg.norm(old, axis=1, keepdims=True)
    new = old @ rng.standard_normal((24, 16)).astype(np.float32)
    new /= np.linalg.norm(new, axis=1, keepdims=True)
    bridge, left_out = Bridge.between(old[:300], new[:300])
    assert bridge.fit > 0.98
    assert np.sum(left_out * new[:300], axis=1).mean() == pytest.approx(bridge.fit)
    assert np.sum(bridge.images(old[300:]) * new[300:], axis=1).mean() > 0.98
    nearest = np.argmax(old[300:] @ bridge.asked(new[350]))
    assert np.argmax(new[300:] @ new[350]) == nearest == 50
    unrelated, _ = Bridge.between(old[:300], np.roll(new[:300], 1, axis=0))
    assert unrelated.fit < 0.5


@pytest.mark.usefixtures("local_ray")
def test_pictures_and_sounds_are_read_again_for_the_final_order_and_what_is_gone_keeps_its_place(
    tmp_path: Path,
) -> None:
    source, lake = tmp_path / "in", str(tmp_path / "lake")
    source.mkdir()
    for n in range(48):
        Image.new("RGB", (40, 40), (n * 5, 255 - n * 5, n * 3)).save(source / f"{n:02d}.png")
    (source / "98.wav").write_bytes(audio("wav", "pcm_s16le", tone(1.0)))
    (source / "99.txt").write_text("words and words")
    config = {"config": RunConfig(actors=1), "policy": Policy(coverage_floor=0)}
    old = EmbedJob(sources=(str(source),), lake=lake, spec=SPEC, corpus=CORPUS, **config)
    old.run()
    new = replace(old, sources=(), spec=NEW)
    work = BackfillJob(job=new, backfill=Backfill(model="new", where="uri < '" + f"{source}/30'"))
    work.run()
    reader = LakeReader.open(lake)
    halves = [Searcher(reader, CORPUS, SPEC), Searcher(reader, CORPUS, NEW, new.space.id)]
    both = MigrationSearcher(reader, *halves)
    query = Query(parts=(("image", str(source / "40.png")),), limit=100)
    plain, found = both.search(query), both.search(query, rerank=100)
    replace(work, backfill=Backfill(model="new")).run()
    reader = LakeReader.open(lake)
    final = Searcher(reader, CORPUS, NEW, new.space.id).search(query)
    scores = {hit.uri: hit.score for hit in final}
    assert len(found) == len(final) == 50
    assert {hit.uri: hit.score for hit in found} == pytest.approx(scores, abs=1e-5)
    assert {hit.uri: hit.score for hit in plain} != pytest.approx(scores, abs=1e-2)
    (source / "41.png").unlink()
    left = {hit.uri: hit.score for hit in both.search(query, rerank=100)}
    gone = f"{source}/41.png"
    assert left[gone] == next(hit.score for hit in plain if hit.uri == gone)


def measured(found: dict[str, dict[str, float]], answers: dict[str, str]) -> float:
    run = [ScoredDoc(q, uri, score) for q, scores in found.items() for uri, score in scores.items()]
    qrels = [Qrel(q, uri, 1) for q, uri in answers.items()]
    return float(calc_aggregate([nDCG @ 10], qrels, run)[nDCG @ 10])


def fused(*lists: dict[str, float]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for one in lists:
        for rank, uri in enumerate(sorted(one, key=lambda uri: -one[uri]), start=1):
            scores[uri] = scores.get(uri, 0.0) + 1 / (60 + rank)
    return scores


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_a_merged_search_beats_rank_fusion_and_from_half_on_the_old_space(
    tmp_path: Path, share: float
) -> None:
    """Seeded: two words of six ask for their text among 200."""
    given, rng = texts(200), np.random.default_rng(1)
    queries = {" ".join(rng.permutation(text.split())[:2]): uri for uri, text in list(given.items())[::4]}
    live, beside = moving(tmp_path, given, share)
    both = searcher(live, beside)
    held = set(both.halves.held["uri"])
    found: dict[str, dict[str, dict[str, float]]] = {way: {} for way in ("merged", "fusion", "old", "new")}
    for words in queries:
        query = asked(words, limit=400)
        old, new = by_asset(both.old.search(query)), by_asset(both.new.search(query))
        found["merged"][words] = by_asset(both.search(query))
        found["old"][words] = old
        found["fusion"][words] = fused({uri: score for uri, score in old.items() if uri not in held}, new)
    beside.night(given)
    whole = searcher(live, beside)
    found["new"] = {words: by_asset(whole.search(asked(words, limit=400))) for words in queries}
    scores = {way: measured(of, queries) for way, of in found.items()}
    assert scores["merged"] > 1.1 * scores["fusion"]
    if share >= 0.5:
        assert scores["merged"] > max(scores["old"], 0.85 * scores["new"])
