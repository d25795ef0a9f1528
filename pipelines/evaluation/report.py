"""The result of an evaluation, as data: a line for each set, system and width."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from pipelines.evaluation.retrieval import Measure, Result
from schemas.card import Frozen


class Interval(Frozen):
    """A mean over queries and its bootstrapped 95 % interval."""

    mean: float
    low: float
    high: float


class Line(Frozen):
    """One system on one set; `chance` is the R@10 of a random order."""

    task: str
    kind: str
    system: str
    width: int
    queries: int
    gallery: int
    chance: float
    seed: int
    scores: dict[Measure, Interval]

    def mean(self, measure: Measure = "nDCG@10") -> float:
        """A measure's mean."""
        return self.scores[measure].mean


class Speed(Frozen):
    """How much of something a second, ours and stock libraries' on the same parts (None: they have no such thing)."""

    what: str
    unit: str
    ours: float
    stock: float | None = None
    note: str = ""


class Bar(Frozen):
    """What was asked of the shipped model, and what was measured."""

    what: str
    value: float
    least: float
    met: bool


class Evaluation(Frozen):
    """All of it, with what is needed to make it again."""

    model: str
    weights_digest: str
    seed: int
    threads: int
    lines: tuple[Line, ...]
    notes: dict[str, str] = Field(description="set to its source and what was held out")
    kept: dict[int, float] = Field(description="width to the share of the full width's mean nDCG@10")
    bars: tuple[Bar, ...] = ()
    speed: tuple[Speed, ...] = ()

    def line(self, task: str, system: str | None = None, width: int | None = None) -> Line | None:
        """A set's line by system (the model when None) and width (the full one when None)."""
        named = [s for s in self.lines if s.task == task and s.system == (system or self.model)]
        fitting = [s for s in named if width in (None, s.width)]
        return max(fitting, key=lambda s: s.width) if fitting else None


def line_of(task: str, kind: str, system: str, width: int, seed: int, result: Result) -> Line:
    """A result as a line."""
    scores = {name: Interval(mean=s.mean, low=s.low, high=s.high) for name, s in result.scores.items()}
    return Line(
        task=task,
        kind=kind,
        system=system,
        width=width,
        queries=result.queries,
        gallery=result.gallery,
        chance=result.chance,
        seed=seed,
        scores=scores,
    )


def kept_widths(lines: Sequence[Line], model: str) -> dict[int, float]:
    """The mean over sets of the model's nDCG@10 at each width, as a share of the full width's."""
    means: dict[int, list[float]] = {}
    for line in lines:
        if line.system == model:
            means.setdefault(line.width, []).append(line.mean())
    full = sum(means[max(means)]) if means else 0.0
    return {width: sum(values) / full for width, values in sorted(means.items(), reverse=True) if full}
