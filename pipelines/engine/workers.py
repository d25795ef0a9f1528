"""The operators as Ray runs them: decode tasks, and the actors that hold the model and may decode too."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.embed import EmbedSegments
from operators.model.contract import Compiles, ModelSpec
from operators.model.device import give_back_memory
from operators.read import ReadAssets
from operators.stage import StageRows
from pipelines.engine.cluster import Resources
from pipelines.engine.stopwatch import Stopwatch
from schemas.config import RunConfig
from schemas.house import check_house
from schemas.space import Space
from schemas.tables import SEGMENT_KIND


@dataclass(frozen=True, slots=True)
class Teller:
    """Counts at a run's desk, where somebody watches."""

    desk: Any
    watched: bool

    def count(self, counts: dict[str, int]) -> None:
        """Tell the desk, and do not wait for it."""
        if self.watched:
            self.desk.add.remote(counts)

    def spent(self, actor_id: str, seconds: dict[str, float]) -> None:
        """Tell the desk where an actor's time has gone, and wait until it knows."""
        import ray

        ray.get(self.desk.spend.remote(actor_id, seconds))


@dataclass(frozen=True, slots=True)
class Read:
    """A decode task: listing rows in, blocks of model-ready rows out."""

    operator: ReadAssets
    teller: Teller

    def __call__(self, shard: pa.Table) -> Iterator[pa.Table]:
        """One shard of the listing."""
        check_house()
        yield from map(self._counted, self.operator(shard))

    def _counted(self, rows: pa.Table) -> pa.Table:
        self.teller.count(_read_counts(rows))
        return rows


def _read_counts(rows: pa.Table) -> dict[str, int]:
    counts = {f"error:{code}": n for code, n in Counter(rows["error_code"].to_pylist()).items() if code}
    is_segment = pc.equal(rows["kind"], SEGMENT_KIND)
    is_object = pc.and_not(pc.is_null(rows["container"]), is_segment)
    return {
        **counts,
        "prepared": pc.sum(is_segment).as_py() or 0,
        "assets_done": pc.sum(is_object).as_py() or 0,
        "tokens": pc.sum(rows["tokens"]).as_py() or 0,
    }


class Embed:
    """The actor: the model is loaded once, and every call is one block of model-ready rows, or a shard that it reads.

    Ray calls it in two threads or more: while the one's part of a block is in the model, another reads, or writes its
    vectors. So the model never waits for storage, and what a crash can embed twice is one block of each actor; shards
    that it was reading are read again. The model's passes have threads of their own: one on a GPU, and on CPUs several
    that share one copy of the weights.
    """

    def __init__(
        self,
        spec: ModelSpec,
        space: Space,
        stage: StageRows,
        config: RunConfig,
        resources: Resources,
        teller: Teller,
        read: Read | None = None,
    ) -> None:
        import ray

        self.watch = Stopwatch()
        check_house()
        context = ray.get_runtime_context()
        self.me = context.get_actor_id()
        ray.get(teller.desk.begin.remote(self.me, [ray.put(context.current_actor)]))
        engine = spec.load(threads=resources.threads, exact=config.exact)
        if config.compile_model and isinstance(engine, Compiles):
            engine.compile()
        give_back_memory()
        self.operator = EmbedSegments(
            engine=engine,
            space=space,
            token_budget=config.token_budget,
            passes=resources.passes,
            threads=resources.shared_threads(config),
        )
        self.stage = stage
        self.part_rows = max(1, config.block_rows // resources.calls)
        self.teller = teller
        self.read = read
        self.watch.loaded()

    def __call__(self, given: pa.Table) -> Iterator[pa.Table]:
        """A shard of the listing where it reads, else what the reads made."""
        # As maps, none of which holds a block of media while the next one is read.
        yield from chain.from_iterable(map(self._block, (given,) if self.read is None else self.read(given)))

    def _block(self, rows: pa.Table) -> Iterator[pa.Table]:
        """A part of the rows at a time; the parts of all calls make one block."""
        # Ray unites small outputs of the reads into blocks of its own size.
        for start in range(0, rows.num_rows, self.part_rows):
            with self.watch.has_rows():
                staged = self._part(rows.slice(start, self.part_rows))
            # Waited for: the driver reads the desk as soon as it has the last block.
            self.teller.spent(self.me, self.watch.spent())
            yield staged

    def _part(self, rows: pa.Table) -> pa.Table:
        segments = pc.sum(pc.equal(rows["kind"], SEGMENT_KIND)).as_py() or 0
        staged = self.stage.earlier(rows)
        if staged is None:
            with self.watch.in_model():
                rows = self.operator(rows)
        self.teller.count({"embedded": segments})
        if staged is None:
            staged = self._staged(rows)
        self.teller.count({"staged": pc.sum(staged["segments"]).as_py()})
        return staged

    def _staged(self, rows: pa.Table) -> pa.Table:
        import ray

        key = uuid.uuid4().hex
        if not ray.get(self.teller.desk.enter.remote(key, self.me)):
            raise RuntimeError("the run was left")
        try:
            return self.stage(rows)
        finally:
            self.teller.desk.leave.remote(key)
