"""The census: how near its estimates come, how honest its intervals are, and that its bounds hold."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from operators.storage import Storage, join
from pipelines.embed import EmbedJob
from pipelines.forecast import PlanJob
from pipelines.sampling import Draw, beyond_of, draw, total_of
from schemas.config import Policy, RunConfig, Selection
from schemas.errors import ErrorCode, ModelError
from schemas.forecast import Census, Rates
from tests.lakes import make_lake
from tests.models.hashed import HashSpec
from tests.operators.decode.clips import audio, tone
from tests.operators.decode.pages import pdf_bytes
from tests.operators.sources.test_archive import make_zip

SPEC = HashSpec()


def job(lake: str, *sources: str, **changes: Any) -> EmbedJob:
    fixed = {"corpus": "c", "config": RunConfig(actors=1, block_rows=64)}
    return EmbedJob(**{"sources": sources, "lake": lake, "spec": SPEC, **fixed, **changes})


def mixed(folder: str, seed: int = 0) -> str:
    """200 assets: texts of log-normal length, pictures, sounds, PDFs, and what nothing can read."""
    random = np.random.default_rng(seed)
    storage = Storage()
    for i, words in enumerate(random.lognormal(5, 1, 110).astype(int)):
        storage.put(join(folder, f"t{i}.txt"), " ".join(f"word{j}" for j in range(words + 1)).encode())
    for i in range(50):
        body = io.BytesIO()
        pixels = random.integers(0, 255, (*random.integers(8, 64, 2), 3), np.uint8)
        Image.fromarray(pixels).save(body, "PNG")
        storage.put(join(folder, f"i{i}.png"), body.getvalue())
    for i, seconds in enumerate(random.uniform(0.2, 12, 16)):
        storage.put(join(folder, f"a{i}.wav"), audio("wav", "pcm_s16le", tone(seconds, 8_000), 8_000))
    for i, pages in enumerate(random.integers(1, 9, 12)):
        storage.put(join(folder, f"p{i}.pdf"), pdf_bytes(*(["some words on a page"] * int(pages))))
    for i in range(12):
        storage.put(join(folder, f"x{i}.png"), b"\x89PNG\r\n\x1a\n" + bytes(40))
    return folder


@pytest.mark.usefixtures("local_ray")
def test_the_estimate_holds_what_embed_then_does(tmp_path: Path) -> None:
    source, lake = mixed(f"{tmp_path}/in"), f"{tmp_path}/lake"
    planned = PlanJob(job=job(lake, source), sample=24, usd_per_hour=2.0)
    forecast = planned.run()
    assert not Path(lake).exists(), "planning makes no lake"
    assert forecast.census.sampled < 120
    report = job(lake, source, policy=Policy(coverage_floor=0)).run()
    census, counts = forecast.census, report.counts
    assert (forecast.new, census.assets) == (counts.new, 200)
    assert census.tokens.low <= counts.tokens <= census.tokens.high
    assert census.tokens.value == pytest.approx(counts.tokens, rel=0.2)
    assert census.segments.low <= counts.segments <= census.segments.high
    broken = census.quarantined[ErrorCode.CORRUPT]
    assert broken.low <= counts.quarantined <= broken.high
    assert (forecast.rates, forecast.cost) == (None, None), "no run has measured a rate yet"
    (warning,) = forecast.warnings
    assert "assets would fail: over what --coverage-floor 0.98 lets" in warning

    Storage().put(f"{source}/new.txt", b"a few more words")
    again = planned.run()
    assert (again.new, again.skipped.unchanged, again.skipped.quarantined) == (1, 200, {"corrupt": 12})
    assert again.census.tokens.value == again.census.tokens.high == 4
    assert again.rates is not None
    assert again.cost is not None
    rate = report.counts.tokens / (report.seconds["embed"] * report.actors)
    assert again.rates.tokens_per_second == {"all": pytest.approx(rate)}
    assert again.cost.actor_hours.value == pytest.approx(4 / rate / 3600)
    assert again.cost.usd is not None
    assert again.cost.usd.value == pytest.approx(2 * again.cost.actor_hours.value)
    assert again.warnings == ()

    for path in Path(source).glob("t*.txt"):
        path.unlink()
    budget = Policy(budget_gpu_hours=again.cost.actor_hours.value / 2)
    refused, spent = replace(planned, job=job(lake, source, policy=budget)).run().warnings
    assert "110 of the corpus' 200 assets are no longer in their sources" in refused
    assert "enough for about 50%" in spent


def by_modality(census: Census) -> dict[str, tuple[float, float, float]]:
    return {m.modality: (m.assets.value, m.segments.value, m.tokens.value) for m in census.modalities}


def test_a_sample_of_everything_is_exact_and_a_part_of_it_comes_near(tmp_path: Path) -> None:
    planned = PlanJob(job=job(f"{tmp_path}/lake", mixed(f"{tmp_path}/in")), sample=500)
    whole = planned.run().census
    assert whole.tokens.low == whole.tokens.value == whole.tokens.high
    assert sum(assets for assets, _, _ in by_modality(whole).values()) == 200 - 12
    held = 0
    for seed in range(10):
        part = replace(planned, sample=16, seed=seed).run().census
        assert part.sampled < 80
        assert part.tokens.value == pytest.approx(whole.tokens.value, rel=0.2)
        held += part.tokens.low <= whole.tokens.value <= part.tokens.high
    assert held >= 8, "a 95 % interval"


def test_what_lies_in_archives_is_counted_by_its_own_kinds(tmp_path: Path) -> None:
    plain, packed = f"{tmp_path}/plain", f"{tmp_path}/packed"
    files = {"a.txt": b"one two three", "b.txt": b"four five", "bad.png": b"\x89PNG\r\n\x1a\n" + bytes(40)}
    for name, body in files.items():
        Storage().put(join(plain, name), body)
    Storage().put(join(packed, "all.zip"), make_zip(files))
    census = [
        PlanJob(job=job(f"{tmp_path}/lake", source), sample=9).run().census for source in (plain, packed)
    ]
    assert [one.tokens.value for one in census] == [5, 5]
    assert [one.assets for one in census] == [3, 1]
    assert census[0].modalities == census[1].modalities
    assert census[0].quarantined == census[1].quarantined


def test_the_same_seed_gives_the_same_census(tmp_path: Path) -> None:
    planned = PlanJob(job=job(f"{tmp_path}/lake", mixed(f"{tmp_path}/in")), sample=8, seed=3)
    first, second = planned.run().census, planned.run().census
    timeless = {"seconds": 0.0}
    assert first.model_copy(update=timeless) == second.model_copy(update=timeless)
    assert replace(planned, seed=4).run().census.tokens != first.tokens


@pytest.mark.parametrize("shape", ["proportional", "constant", "unrelated", "rare"])
def test_intervals_hold_the_truth_as_often_as_they_say(shape: str) -> None:
    random = np.random.default_rng(1)
    sizes = np.sort(random.lognormal(9, 1.5, 3_000)).astype(np.int64)
    tokens = {
        "proportional": sizes / 4 * random.uniform(0.7, 1.3, len(sizes)),
        "constant": np.full(len(sizes), 258.0),
        "unrelated": random.lognormal(4, 0.7, len(sizes)),
        "rare": np.where(random.random(len(sizes)) < 0.15, sizes / 4, 0.0),
    }[shape]
    work = pl.DataFrame({"uri": [f"{i}.txt" for i in range(len(sizes))], "size": sizes})
    held, widths = 0, []
    for seed in range(200):
        drawn = draw(work, 32, 1 << 40, seed)
        assert sum(s.wanted for s in drawn.strata) <= 32
        total = sum_of(drawn, tokens)
        held += total[0] - total[1] <= tokens.sum() + 1e-6 and total[0] + total[1] >= tokens.sum() - 1e-6
        widths.append(total[1] / tokens.sum())
    assert held >= 200 * (0.85 if shape == "rare" else 0.9)
    assert np.median(widths) < {"proportional": 0.15, "constant": 1e-9, "unrelated": 0.6, "rare": 1.2}[shape]


def sum_of(drawn: Draw, tokens: np.ndarray) -> tuple[float, float]:
    parts = [
        total_of(tokens[s.rows[: s.wanted]].tolist(), s.sizes[: s.wanted], len(s.rows), s.sizes.sum())
        for s in drawn.strata
    ]
    return sum(p.value for p in parts), float(np.hypot.reduce([p.half for p in parts]))


def test_every_planned_asset_is_in_one_stratum_or_beyond() -> None:
    random = np.random.default_rng(2)
    sizes = random.lognormal(10, 3, 500).astype(np.int64)
    names = [f"f{i}.{random.choice(['txt', 'PNG', 'mp4', 'json', 'pdf', ''])}" for i in range(500)]
    drawn = draw(pl.DataFrame({"uri": names, "size": sizes}), 20, 1 << 22, 0)
    rows = [int(row) for stratum in drawn.strata for row in stratum.rows]
    assert len(rows) == len(set(rows)) == 500 - sum(map(len, drawn.beyond.values()))
    assert drawn.beyond
    assert sum(s.sizes.sum() for s in drawn.strata) + sum(map(np.sum, drawn.beyond.values())) == sizes.sum()


def test_the_byte_limit_holds_and_what_is_larger_is_extrapolated_by_its_bytes(tmp_path: Path) -> None:
    for i in range(40):
        Storage().put(f"{tmp_path}/in/{i}.txt", b"word " * (200 + i))
    for i in range(2):
        Storage().put(f"{tmp_path}/in/large{i}.txt", b"word " * 20_000)
    planned = PlanJob(job=job(f"{tmp_path}/lake", f"{tmp_path}/in"), sample_bytes=40_000)
    census = planned.run().census
    assert census.sampled_bytes < 45_000
    assert census.extrapolated == 2
    true = sum(200 + i for i in range(40)) + 40_000
    assert census.tokens.low <= true <= census.tokens.high
    assert census.tokens.value == pytest.approx(true, rel=0.2)


def test_a_kind_that_no_sample_reaches_is_named_and_not_guessed(tmp_path: Path) -> None:
    Storage().put(f"{tmp_path}/in/a.wav", audio("wav", "pcm_s16le", tone(3)))
    Storage().put(f"{tmp_path}/in/a.txt", b"two words")
    forecast = PlanJob(job=job(f"{tmp_path}/lake", f"{tmp_path}/in"), sample_bytes=1_000).run()
    (unknown,) = forecast.census.unestimated
    assert (unknown.kind, unknown.assets) == ("audio", 1)
    assert forecast.census.tokens.value == 2
    assert any("1 audio assets" in warning for warning in forecast.warnings)


def test_when_time_is_up_two_of_each_stratum_were_read(tmp_path: Path) -> None:
    planned = PlanJob(job=job(f"{tmp_path}/lake", mixed(f"{tmp_path}/in")), sample_seconds=0.0)
    census = planned.run().census
    assert 8 <= census.sampled <= 2 * 4 * 4
    assert census.tokens.low < census.tokens.value < census.tokens.high


def test_beyond_the_sample_counts_go_by_the_asset_and_tokens_by_the_byte() -> None:
    sizes, beyond = np.array([10.0, 20.0, 40.0]), np.array([100.0, 300.0])
    tokens = beyond_of([5.0, 10.0, 20.0], sizes, beyond)
    assert (tokens.value, tokens.half) == (pytest.approx(200), pytest.approx(50)), "a quarter at least"
    counted = beyond_of([1.0, 1.0, 1.0], sizes, beyond, by_count=True)
    assert (counted.value, counted.half) == (2, 0)


def test_a_plan_leaves_the_lake_as_it_is_and_says_what_it_skips(tmp_path: Path) -> None:
    lake, source = f"{tmp_path}/lake", f"{tmp_path}/in"
    for name in ("a.txt", "b.txt", "c.log", "d.txt"):
        Storage().put(f"{source}/{name}", b"some words here")
    make_lake(lake, {"elsewhere.txt": "x"}, corpus="c")
    before = {path: path.stat().st_mtime_ns for path in Path(lake).rglob("*")}
    with pytest.raises(ModelError, match="never mixed"):
        PlanJob(job=job(lake, source)).run()
    selection = Selection(exclude=("*.log",), max_assets=2)
    forecast = PlanJob(job=job(lake, source, spec=HashSpec("one"), selection=selection)).run()
    assert (forecast.listed, forecast.new, forecast.census.assets) == (4, 2, 2)
    assert (forecast.skipped.excluded, forecast.skipped.deferred) == (1, 1)
    assert {path: path.stat().st_mtime_ns for path in Path(lake).rglob("*")} == before


def test_a_modality_that_was_not_tried_has_the_slowest_known_rate() -> None:
    rates = Rates(source="calibrated", tokens_per_second={"text": 900.0, "image": 50.0}, note="")
    assert (rates.of("text"), rates.of("video")) == (900.0, 50.0)
    assert Rates(source="given", tokens_per_second={"all": 7.0}, note="").of("text") == 7.0


def test_a_trial_times_the_model_on_each_modality_of_the_sample(tmp_path: Path) -> None:
    for i in range(4):
        Storage().put(f"{tmp_path}/in/{i}.txt", f"word {i}".encode())
    Storage().put(f"{tmp_path}/in/a.wav", audio("wav", "pcm_s16le", tone(3)))
    planned = PlanJob(job=job(f"{tmp_path}/lake", f"{tmp_path}/in"), calibrate=True)
    forecast = planned.run()
    assert forecast.rates is not None
    assert set(forecast.rates.tokens_per_second) == {"text", "audio"}
    assert all(rate > 0 for rate in forecast.rates.tokens_per_second.values())
    assert forecast.cost is not None
    tokens = by_modality(forecast.census)
    seconds = sum(tokens[m][2] / rate for m, rate in forecast.rates.tokens_per_second.items())
    assert forecast.cost.actor_hours.value == pytest.approx(seconds / 3600)
