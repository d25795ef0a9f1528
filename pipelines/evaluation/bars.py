"""What the shipped model has to reach, computed from a report: whoever wins, the table says so."""

from __future__ import annotations

from pipelines.evaluation.report import Bar, Evaluation
from pipelines.evaluation.retrieval import Measure
from pipelines.evaluation.systems import AVERAGE, LATE, PARTS

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


def _against(report: Evaluation, task: str, other: str, measure: Measure, least: float) -> list[Bar]:
    """The model's measure as a multiple of another system's; more than `least` of it."""
    ours, theirs = report.line(task), report.line(task, other)
    if ours is None or theirs is None:
        return []
    ratio = ours.mean(measure) / max(theirs.mean(measure), 1e-9)
    return [_bar(f"{task}: {measure} over {other}", ratio, least)]


def _bar(what: str, value: float, least: float) -> Bar:
    return Bar(what=what, value=value, least=least, met=value >= least)
