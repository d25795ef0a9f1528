"""Evaluate a model: every set, every system, every width."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.evaluation.bars import bars, soup_bar
from pipelines.evaluation.report import Bar, Evaluation, Line, kept_widths, line_of
from pipelines.evaluation.retrieval import evaluate
from pipelines.evaluation.sets import SETS, build
from pipelines.evaluation.systems import Systems

if TYPE_CHECKING:
    from operators.model.contract import ModelSpec

Watch = Callable[[str], None]


def evaluate_model(
    spec: ModelSpec,
    data: Path,
    names: Sequence[str] = (),
    seed: int = 0,
    most: int | None = None,
    baselines: bool = True,
    threads: int | None = None,
    watch: Watch = lambda _: None,
) -> Evaluation:
    """The model's scores on each set at each width, and its baselines' at the full one.

    Args:
        spec: any model of the project.
        data: folder of packages and what is made of them; what is missing is fetched.
        names: sets, all of them when empty.
        seed: of the sets' samples and of the bootstrap.
        most: queries of a set, the set's own number when None.
        baselines: whether other systems stand beside the model.
        threads: of the CPU, all when None.
        watch: told what is being done.

    Raises:
        UsageError: an unknown set.
        SourceError: data that cannot be fetched or made.
        ModelError: a model that cannot be loaded or does not take a set's media.
    """
    systems = Systems(spec, data, threads)
    lines: list[Line] = []
    notes: dict[str, str] = {}
    for name in names or list(SETS):
        watch(f"{name}: reading the set")
        task = build(name, data, seed, most)
        notes[name] = task.note
        for system in systems.of(task, baselines):
            watch(f"{name}: {system.name}")
            queries, gallery = system.vectors(task)
            full = gallery.shape[1]
            widths = spec.card.widths if system.name == spec.card.model_id else (full,)
            for width in widths:
                result = evaluate(queries[:, :width], gallery[:, :width], task.relevant, seed)
                lines.append(line_of(name, task.kind, system.name, width, seed, result))
    report = Evaluation(
        model=spec.card.model_id,
        weights_digest=spec.card.weights_digest,
        seed=seed,
        threads=threads or len(os.sched_getaffinity(0)),
        lines=tuple(lines),
        notes=notes,
        kept=kept_widths(lines, spec.card.model_id),
    )
    found = (*bars(report), *_soup(spec)) if baselines else ()
    return report.model_copy(update={"bars": found})


def _soup(spec: ModelSpec) -> tuple[Bar, ...]:
    from operators.model.fused.spec import WEIGHTS, FusedSpec

    if not isinstance(spec, FusedSpec):
        return ()
    return soup_bar(WEIGHTS if spec.source.path is None else Path(spec.source.path))


def with_speed(report: Evaluation, spec: ModelSpec, data: Path) -> Evaluation:
    """The report with the model's speed on as many threads; the sample is the report's seed's.

    Raises:
        ModelError: a model without pictures.
    """
    from pipelines.evaluation.speed import load_of, measure

    speeds = measure(spec, load_of(data, report.seed), report.threads)
    return report.model_copy(update={"speed": speeds})
