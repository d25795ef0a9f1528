"""A comparison tells good spaces from bad ones, and its verdict is what promotion obeys."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.show_compare import page
from pipelines.compare import compare, gate_failures, health
from pipelines.reader import LakeReader
from pipelines.spaces import promote
from schemas.compare import Comparison, Gate, Golden, ModalityCoverage
from schemas.corpus import Backfill
from schemas.errors import GateError, UsageError
from schemas.recipe import Recipe
from schemas.space import Space
from tests.models.hashed import HashSpec
from tests.models.salted import SaltedSpec
from tests.pipelines.wear import CORPUS, SPACE, SPEC, Worn

NEW = SaltedSpec("new")
NEW_ID = Space(card=NEW.card, recipe=Recipe()).id
TEXTS = {f"s/{n}.txt": f"word{n} group{n // 4} <b>mark</b>" for n in range(24)}
GOLDEN = [Golden(query=f"word{n} group{n // 4}", expected=(f"s/{n}.txt",)) for n in range(0, 24, 3)]


def lake(folder: Path, beside: dict[str, str], spec: HashSpec = NEW) -> tuple[Worn, str]:
    live = Worn(str(folder / "lake"))
    live.night(TEXTS)
    other = Worn(live.lake, spec=spec, backfill=Backfill(model="new"))
    other.night(beside)
    return live, other.space.id


def compared(worn: Worn, space: str, **settings: object) -> Comparison:
    reader = LakeReader.open(worn.lake)
    return compare(reader, CORPUS, SPACE.id, space, **settings)  # type: ignore[arg-type]


def test_a_space_that_holds_all_and_searches_as_well_passes_and_is_promoted(tmp_path: Path) -> None:
    worn, new = lake(tmp_path, TEXTS)
    found = compared(worn, new, golden=GOLDEN, specs={SPACE.id: SPEC, new: NEW}, gate=Gate(max_ndcg_drop=0.3))
    assert (found.failures, found.coverage) == ((), 1.0)
    assert [(c.old, c.held, c.embedded) for c in found.coverage_by_modality] == [(24, 24, 24)]
    assert {(s.space, s.width) for s in found.golden} == {
        *((SPACE.id, w) for w in SPACE.card.widths),
        *((new, w) for w in NEW.card.widths),
    }
    assert all(s.recall_at_10 > 0.5 for s in found.golden if s.width >= 32)
    assert {o.new_width for o in found.overlaps} == set(NEW.card.widths)
    assert all(0 < o.overlap < 1 for o in found.overlaps)
    assert compared(worn, new).overlaps == found.overlaps, "seeded"
    assert promote(worn.lake, CORPUS, new).live == new


def test_a_space_that_lacks_assets_or_searches_worse_is_refused(tmp_path: Path) -> None:
    worn, new = lake(tmp_path, dict(list(TEXTS.items())[:12]))
    assert compared(worn, new).failures == ("coverage 50.0% is below 99.0%",)
    with pytest.raises(GateError, match=r"coverage 50\.0% is below"):
        promote(worn.lake, CORPUS, new)
    found = compared(worn, new, golden=GOLDEN, specs={SPACE.id: SPEC, new: NEW})
    assert any("nDCG@10 of the golden queries falls" in text for text in found.failures)
    with pytest.raises(UsageError, match="with itself"):
        compared(worn, SPACE.id)


def test_a_space_that_quarantined_a_whole_modality_is_refused(tmp_path: Path) -> None:
    worn, new = lake(tmp_path, TEXTS)
    silent = ModalityCoverage(modality="audio", old=10, held=10, embedded=0)
    found = compared(worn, new).model_copy(update={"coverage_by_modality": (silent,)})
    assert list(gate_failures(found)) == ["0 of 10 audio assets kept vectors, fewer than 98.0%"]


def test_golden_queries_say_how_search_fares_half_way_and_whether_a_bridge_helps(tmp_path: Path) -> None:
    texts = {f"s/{n}.txt": f"word{n} group{n // 4}" for n in range(220)}
    worn, new = Worn(str(tmp_path / "lake"), batch=1000), NEW_ID
    worn.night(texts)
    replace(worn, spec=NEW, backfill=Backfill(model="new")).night(texts)
    golden = [Golden(query=f"word{n}", expected=(f"s/{n}.txt",)) for n in range(0, 220, 20)]
    found = compared(worn, new, golden=golden, specs={SPACE.id: SPEC, new: NEW})
    half = found.half_moved
    assert half is not None
    assert half.bridged is not None
    (alone,) = (s.ndcg_at_10 for s in found.golden if (s.space, s.width) == (new, NEW.card.dim))
    assert 0.4 * alone < half.calibrated <= 1
    assert half.bridge_helps == (half.bridged > half.calibrated)
    assert ("--bridge" in page(found)) == half.bridge_helps


def test_collapsed_repeated_and_broken_vectors_are_seen() -> None:
    rng = np.random.default_rng(0)
    good = rng.standard_normal((200, 16)).astype(np.float32)
    unit = good / np.linalg.norm(good, axis=1, keepdims=True)
    fine = health(unit, unit)
    assert (fine.not_finite, fine.off_unit, fine.same_vector) == (0, 0, 0)
    assert abs(fine.mean_cosine) < 0.05
    assert fine.effective_rank > 12
    flat = np.ones((200, 16), np.float32) + unit * 1e-3
    assert health(flat, unit).mean_cosine > 0.99
    line = np.outer(np.linspace(-1, 1, 200), unit[0]).astype(np.float32)
    assert health(line, unit).effective_rank < 1.5
    assert health(np.repeat(unit[:50], 4, axis=0), unit).same_vector == pytest.approx(0.75)
    broken = unit.copy()
    broken[:3] = np.nan
    broken[3] *= 2
    seen = health(broken, broken)
    assert (seen.not_finite, seen.off_unit) == (3, 1)
    assert np.isfinite(seen.effective_rank)


def test_the_page_escapes_what_the_lake_holds_and_needs_nothing_else(tmp_path: Path) -> None:
    worn, new = lake(tmp_path, TEXTS)
    html = page(compared(worn, new))
    assert "&lt;b&gt;mark" in html
    assert "<b>mark" not in html
    assert html.count("src=") == html.count('src="data:image/jpeg;base64,')
    assert "href=" not in html
    assert "<svg" in html
