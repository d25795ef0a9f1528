"""Bars say what was measured, met or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.evaluation.bars import bars, soup_bar
from pipelines.evaluation.report import Evaluation, Interval, Line
from pipelines.training.record import RunRecord


def line(task: str, system: str, value: float, width: int = 384) -> Line:
    score = Interval(mean=value, low=value, high=value)
    return Line(
        task=task, kind="picture", system=system, width=width, queries=1, gallery=1, chance=1.0, seed=0,
        scores={"R@1": score, "R@10": score, "nDCG@10": score, "MRR@10": score},
    )  # fmt: skip


def report(*lines: Line, kept: dict[int, float] | None = None) -> Evaluation:
    return Evaluation(
        model="m", weights_digest="", seed=0, threads=1, lines=lines, notes={}, kept=kept or {384: 1.0}
    )


def met(*lines: Line, kept: dict[int, float] | None = None) -> dict[str, bool]:
    return {bar.what: bar.met for bar in bars(report(*lines, kept=kept))}


def test_a_bar_is_met_from_its_value_on() -> None:
    assert met(line("tuxpaint", "m", 0.25)) == {"tuxpaint: R@10": True}
    assert met(line("tuxpaint", "m", 0.2499)) == {"tuxpaint: R@10": False}


def test_other_systems_are_beaten_or_not() -> None:
    ours, close, better = (
        line("emoji", "m", 0.5),
        line("emoji", "kNN transfer", 0.4),
        line("emoji", "late fusion", 0.6),
    )
    found = met(ours, close, better)
    assert found["emoji: R@1 over kNN transfer"]
    assert not found["emoji: nDCG@10 over late fusion"]
    assert not met(ours, line("emoji", "kNN transfer", 0.5))["emoji: R@1 over kNN transfer"], (
        "a tie beats nobody"
    )
    text = met(line("manual", "m", 0.97), line("manual", "MiniLM", 1.0))
    assert text == {"manual: nDCG@10 over MiniLM": True}


def test_fusion_has_to_beat_every_part_and_their_average() -> None:
    lines = [line("speech+words", "m", 0.5)]
    lines += [line("speech+words", name, 0.1) for name in ("speech alone", "words alone", "average of parts")]
    assert len(met(*lines)) == 3
    assert all(met(*lines).values())


def test_the_full_width_is_compared_and_widths_keep_their_share() -> None:
    narrow = line("tuxpaint", "m", 0.9, width=64)
    found = met(line("tuxpaint", "m", 0.1), narrow, kept={384: 1.0, 128: 0.94, 64: 0.9})
    assert found == {
        "tuxpaint: R@10": False,
        "width 128: mean nDCG@10 kept": False,
        "width 64: mean nDCG@10 kept": True,
    }


@pytest.mark.parametrize(("soup", "is_met"), [(0.5, True), (0.3, False)])
def test_the_soup_stands_beside_its_best_checkpoint(tmp_path: Path, soup: float, is_met: bool) -> None:
    assert soup_bar(tmp_path) == ()
    scores = {"a": {"x": 0.2, "y": 0.4}, "b": {"x": 0.4, "y": 0.5}, "soup": {"x": soup, "y": 0.5}}
    record = RunRecord(recipe={}, versions={}, stages=(), soup={"a": 0.0, "b": 1.0}, scores=scores)
    (tmp_path / "run.json").write_text(record.model_dump_json())
    (bar,) = soup_bar(tmp_path)
    assert bar.met is is_met
    assert bar.value == pytest.approx((soup + 0.5) / 0.9)
