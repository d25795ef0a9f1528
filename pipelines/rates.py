"""How fast an embedding actor is: as earlier runs of the lake measured it, or as a short trial here does."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from operators.embed import EmbedSegments
from operators.model.contract import ModelSpec
from operators.model.device import pick_device
from pipelines.engine.cluster import Resources, cores
from pipelines.reader import LakeReader
from schemas.config import RunConfig
from schemas.forecast import Rates
from schemas.report import RunReport
from schemas.space import Space

_RUNS = 20
_ROWS = 256
_BYTES = 64 << 20
_TRIAL_S = 3.0


def measured(reader: LakeReader, space: Space) -> Rates | None:
    """The rate of the largest of the latest runs with this space, else with this model; None without one.

    The largest, because a run's fixed start weighs least there. Continued runs do not count: their tokens are of
    several attempts and their seconds of the last.
    """
    runs = [run for name in reader.catalog.corpora for run in reader.runs(name) if _usable(run)]
    same_space = [run for run in runs if run.space == space.id]
    same_model = [run for run in runs if run.model == space.card.model_id]
    latest = sorted(same_space or same_model, key=lambda run: run.finished_at)[-_RUNS:]
    if not latest:
        return None
    largest = max(latest, key=lambda run: run.counts.tokens)
    rate = largest.counts.tokens / (largest.seconds["embed"] * largest.actors)
    note = (
        f"run {largest.run_id}, {largest.counts.tokens} tokens on {largest.actors} actors, start-up included"
    )
    return Rates(source="measured", tokens_per_second={"all": rate}, note=note)


def _usable(run: RunReport) -> bool:
    timed = run.seconds.get("embed", 0.0) > 0 and run.actors > 0
    return timed and run.counts.tokens > 0 and not run.resumed_segments


@dataclass(slots=True)
class Trial:
    """Prepared segments of each modality, as many as a trial needs, and then the trial."""

    kept: dict[str, list[pa.Table]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    bytes: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def keep(self, segments: pa.Table) -> None:
        """Keep what there is room for: 256 rows and 64 MiB of a modality."""
        for modality in pc.unique(segments["modality"]).to_pylist():
            room = _ROWS - self.rows[modality]
            if room <= 0 or self.bytes[modality] >= _BYTES:
                continue
            own = segments.filter(pc.equal(segments["modality"], modality))
            # A copy: a slice would keep the whole block.
            own = own.take(
                pa.array(
                    range(
                        min(room, own.num_rows),
                    )
                )
            )
            self.kept[modality].append(own)
            self.rows[modality] += own.num_rows
            self.bytes[modality] += own.nbytes

    def run(self, spec: ModelSpec, space: Space, config: RunConfig) -> Rates | None:
        """Embed what was kept, a few seconds a modality, on the device that an actor would use here.

        Raises:
            ModelError: the weights cannot be read.
        """
        if not self.kept:
            return None
        device = pick_device(None, None).type
        passes, threads, shared, where = 1, config.actor_threads, None, device
        if device == "cpu":
            actor = Resources.spread(config, cores(), cores() if spec.concurrent else 1)
            passes, threads, shared = actor.passes, actor.threads, actor.shared_threads(config)
            where = f"{passes * threads} CPU thread{'s' * (passes * threads > 1)}"
        operator = EmbedSegments(
            engine=spec.load(threads=threads, exact=config.exact),
            space=space,
            token_budget=config.token_budget,
            passes=passes,
            threads=shared,
        )
        found = {m: _rate(operator, pa.concat_tables(tables)) for m, tables in sorted(self.kept.items())}
        return Rates(source="calibrated", tokens_per_second=found, note=f"tried here on {where}")


def _rate(operator: EmbedSegments, rows: pa.Table) -> float:
    """Tokens a second over a few seconds; the first row warms up, and is all when it alone takes long."""
    first = _timed(operator, rows.slice(0, 1))
    if first.seconds < 3 * _TRIAL_S:
        first = _timed(operator, rows.slice(0, 1))
    if first.seconds >= _TRIAL_S:
        return first.rate
    batch = rows.slice(0, max(1, int(_TRIAL_S / first.seconds)))
    tokens, seconds = 0, 0.0
    while seconds < _TRIAL_S / 2:
        timed = _timed(operator, batch)
        tokens, seconds = tokens + timed.tokens, seconds + timed.seconds
    return _Timed(tokens, seconds).rate


@dataclass(frozen=True, slots=True)
class _Timed:
    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        return max(self.tokens, 1) / self.seconds


def _timed(operator: EmbedSegments, rows: pa.Table) -> _Timed:
    started = time.perf_counter()
    operator(rows)
    return _Timed(pc.sum(rows["tokens"]).as_py(), max(time.perf_counter() - started, 1e-6))
