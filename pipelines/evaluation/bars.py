"""What the shipped model has to reach, computed from a report: whoever wins, the table says so."""

from __future__ import annotations

from pathlib import Path

from pipelines.evaluation.report import Bar, Evaluation
from pipelines.evaluation.retrieval import Measure
from pipelines.evaluation.systems import AVERAGE, LATE, PARTS
from pipelines.training.record import RECORD_FILE, RunRecord

_TEXT = 0.97
_RECALL = {
    "tuxpaint": 0.25,
    "emoji": 0.37,
    "clip-art": 0.34,
    "unseen-voices": 0.8,
    "human-english": 0.3,
}
_KEPT = {128: 0.95, 64: 0.88}


def bars(report: Evaluation) -> tuple[Bar, ...]:
    """Every bar whose sets were run."""
    found: list[Bar] = []
    for task in ("wordnet", "manual"):
        found += _against(report, task, "MiniLM", "nDCG@10", _TEXT)
    for task, least in _RECALL.items():
        if line := report.line(task):
            found.append(_bar(f"{task}: R@10", line.mean("R@10"), least))
    for task in ("tuxpaint", "emoji", "clip-art"):
        found += _against(report, task, "kNN transfer", "R@1", 1.0)
        for other in (LATE, "frozen + MLP"):
            found += _against(report, task, other, "nDCG@10", 1.0)
    for task, parts in PARTS.items():
        for other in (*parts, AVERAGE):
            found += _against(report, task, other, "nDCG@10", 1.0)
    found += [
        _bar(f"width {w}: mean nDCG@10 kept", report.kept[w], least)
        for w, least in _KEPT.items()
        if w in report.kept
    ]
    return tuple(found)


def soup_bar(folder: Path) -> tuple[Bar, ...]:
    """The soup's mean validation score over that of its best checkpoint, where the folder keeps the training record."""
    path = folder / RECORD_FILE
    if not path.is_file():
        return ()
    record = RunRecord.model_validate_json(path.read_text(encoding="utf-8"))
    means = {name: sum(found.values()) / len(found) for name, found in record.scores.items() if found}
    ingredients = [means[name] for name in record.soup if name in means]
    if "soup" not in means or not ingredients:
        return ()
    return (
        _bar("soup: mean validation score over its best checkpoint", means["soup"] / max(ingredients), 1.0),
    )


def _against(report: Evaluation, task: str, other: str, measure: Measure, least: float) -> list[Bar]:
    """The model's measure as a multiple of another system's; more than `least` of it."""
    ours, theirs = report.line(task), report.line(task, other)
    if ours is None or theirs is None:
        return []
    ratio = ours.mean(measure) / max(theirs.mean(measure), 1e-9)
    met = ratio >= least if least < 1 else ratio > 1
    return [Bar(what=f"{task}: {measure} over {other}", value=ratio, least=least, met=met)]


def _bar(what: str, value: float, least: float) -> Bar:
    return Bar(what=what, value=value, least=least, met=value >= least)
