"""What a training run was: its recipe, versions, losses and scores, and the losses as a picture."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from schemas.card import Frozen

RECORD_FILE, PLOT_FILE = "run.json", "loss.svg"
_PACKAGES = ("numpy", "torch", "transformers")


def versions() -> dict[str, str]:
    """Versions that decide the numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


class StageRecord(Frozen):
    """A stage as it went: the loss of each step and, where tasks are drawn, which one it was."""

    name: str
    seconds: float = Field(ge=0)
    losses: tuple[float, ...]
    drawn: tuple[str, ...] = ()


class RunRecord(Frozen):
    """The whole run; `scores` are of validation sets, `soup` is the weight of each checkpoint."""

    recipe: dict[str, Any]
    versions: dict[str, str]
    stages: tuple[StageRecord, ...]
    soup: dict[str, float] = Field(default_factory=dict)
    scores: dict[str, dict[str, float]] = Field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the record and the plot into an existing folder."""
        (folder / RECORD_FILE).write_text(self.model_dump_json(indent=1), encoding="utf-8")
        plot_losses(self.stages, folder / PLOT_FILE)


def plot_losses(stages: Sequence[StageRecord], path: Path) -> None:
    """A panel for each stage: the loss of every step, and its running mean for each task; written as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4 * len(stages), 3), layout="constrained")
    for number, stage in enumerate(stages, 1):
        axes = figure.add_subplot(1, len(stages), number, title=stage.name, xlabel="step", ylabel="loss")
        drawn = stage.drawn or ("",) * len(stage.losses)
        for task in sorted(set(drawn)):
            steps = [i for i, name in enumerate(drawn) if name == task]
            values = [stage.losses[i] for i in steps]
            (line,) = axes.plot(steps, values, alpha=0.25)
            axes.plot(steps, running_mean(values), color=line.get_color(), label=task or None)
        if stage.drawn:
            axes.legend(fontsize="small")
    figure.savefig(path, format="svg", metadata={"Date": None})


def running_mean(values: Sequence[float], memory: float = 0.95) -> list[float]:
    """Exponential means, each step counting so that the first is no heavier than its share."""
    total = weight = 0.0
    means: list[float] = []
    for value in values:
        total, weight = memory * total + value, memory * weight + 1
        means.append(total / weight)
    return means
