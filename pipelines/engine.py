"""The one Ray seam: names the operators, gives them resources, streams receipts back. No other file imports ray."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from operators.embed import EmbedSegments
from operators.model.contract import ModelSpec
from operators.read import ReadAssets
from operators.stage import StageRows
from pipelines.failures import explained_workers
from pipelines.progress import Progress, Snapshot
from schemas.config import RunConfig
from schemas.errors import UsageError
from schemas.house import check_house
from schemas.space import Space
from schemas.tables import SEGMENT_KIND

WORKER_ENV = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "LANCE_CPU_THREADS": "1",
    "LANCE_IO_THREADS": "4",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Set before ray is imported: a local cluster's workers inherit it."""
_SPARE_CPUS = 2
_READ_CPUS = 1
_ACTOR_CPUS = 0.9  # unlike the reads', or Ray fuses both into one serial operator
_ACTOR_THREADS = 2
_BLOCKS_AHEAD = 16
_POLL_SECONDS = 0.3
_GATE_SECONDS = 0.05


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """A Ray cluster for one run: the one at `address`, or a local one that ends with the block.

    A cluster that the caller has already joined is used and left running.

    Raises:
        UsageError: nothing answers at `address`.
    """
    for name, value in WORKER_ENV.items():
        os.environ.setdefault(name, value)
    # Ray prints what it has to say of dead workers on stdout, where a script reads JSON; its own files keep it.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    import ray
    import ray.data

    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "configure_logging": True,
    }
    if address:
        try:
            ray.init(address, runtime_env={"env_vars": WORKER_ENV}, **quiet)
        except (ConnectionError, ValueError) as error:
            raise UsageError(f"no Ray cluster at {address}: {' '.join(str(error).split())[:200]}") from error
    else:
        # Actors that hold every logical CPU would starve the reads for ever.
        ray.init("local", num_cpus=cores() + _SPARE_CPUS, include_dashboard=False, **quiet)
    _keep_off_the_screen()
    try:
        yield
    finally:
        ray.shutdown()


def _keep_off_the_screen() -> None:
    """Ray's own console lines would break the live display; its files and the run's log keep them."""
    screen = (sys.stderr, sys.stdout)
    for name in ("ray", "ray.data"):
        logger = logging.getLogger(name)
        logger.handlers = [h for h in logger.handlers if getattr(h, "stream", None) not in screen]


@dataclass(frozen=True, slots=True)
class Resources:
    """The embedding pool: so many actors, each with a GPU or with so many CPU threads."""

    actors: int
    threads: int
    gpu: bool

    @classmethod
    def of(cls, config: RunConfig) -> Resources:
        """One actor a GPU where the cluster has some; else one a core, with one thread each."""
        import ray

        total = ray.cluster_resources()
        gpus, cpus = int(total.get("GPU", 0)), max(1, int(total.get("CPU", 1)) - _SPARE_CPUS)
        actors = config.actors or gpus or cpus
        return cls(actors, config.actor_threads or max(1, cores() // actors), gpus > 0)


class _Meter:
    """A Ray actor that counts for a display; operators tell it without waiting for an answer."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def add(self, counts: dict[str, int]) -> None:
        self.counts.update(counts)

    def read(self) -> dict[str, int]:
        return dict(self.counts)


class _Gate:
    """A Ray actor that whoever stages passes, so that a run which is left early knows when nothing more is written."""

    def __init__(self) -> None:
        self.open = True
        self.inside: dict[str, Any] = {}

    def begin(self, actor_id: str) -> None:
        """An actor starts; whatever it did in an earlier life has ended."""
        self.inside = {key: actor for key, actor in self.inside.items() if not key.startswith(actor_id)}

    def enter(self, key: str, actor: Any) -> bool:
        if self.open:
            self.inside[key] = actor
        return self.open

    def leave(self, key: str) -> None:
        self.inside.pop(key, None)

    def close(self) -> dict[str, Any]:
        self.open = False
        return self.inside


@contextmanager
def _gated() -> Iterator[Any]:
    """A gate that is shut, with nobody inside, when the block ends in any way.

    Ray ends a pool in its own time, and whoever holds the corpus next must not find a file come later.
    """
    import ray

    gate = ray.remote(num_cpus=0)(_Gate).remote()
    try:
        yield gate
    finally:
        while inside := ray.get(gate.close.remote()):
            for key, actor in inside.items():
                if not _alive(actor):
                    ray.get(gate.leave.remote(key))
            time.sleep(_GATE_SECONDS)
        ray.kill(gate)


def _alive(actor: Any) -> bool:
    import ray

    try:
        ray.get(actor.__ray_ready__.remote(), timeout=_GATE_SECONDS)
    except ray.exceptions.GetTimeoutError:
        return True
    except ray.exceptions.RayActorError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class _Read:
    operator: ReadAssets
    meter: Any

    def __call__(self, shard: pa.Table) -> Iterator[pa.Table]:
        check_house()
        for rows in self.operator(shard):
            if self.meter:
                self.meter.add.remote(_read_counts(rows))
            yield rows


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


class _Embed:
    """The actor: the model is loaded once, and every call is one block of model-ready rows.

    Ray calls it in two threads: while the one's block is in the model, the other's vectors are written. So the model
    never waits for storage, and what a crash can cost is the two blocks of each actor.
    """

    def __init__(
        self,
        spec: ModelSpec,
        space: Space,
        stage: StageRows,
        config: RunConfig,
        threads: int,
        gate: Any,
        meter: Any,
    ) -> None:
        import ray

        check_house()
        self.me = ray.get_runtime_context().get_actor_id()
        ray.get(gate.begin.remote(self.me))
        self.operator = EmbedSegments(
            engine=spec.load(threads=threads), space=space, token_budget=config.token_budget
        )
        self.stage = stage
        self.block_rows = config.block_rows
        self.gate = gate
        self.meter = meter
        self.model = threading.Lock()

    def __call__(self, rows: pa.Table) -> Iterator[pa.Table]:
        # Ray unites small outputs of the reads into blocks of its own size.
        for start in range(0, rows.num_rows, self.block_rows):
            yield self._block(rows.slice(start, self.block_rows))

    def _block(self, rows: pa.Table) -> pa.Table:
        earlier = self.stage.earlier(rows)
        if earlier is not None:
            self._count("embedded", earlier["segments"])
            self._count("staged", earlier["segments"])
            return earlier
        with self.model:
            done = self.operator(rows)
        self._count("embedded", pc.equal(rows["kind"], SEGMENT_KIND))
        staged = self._staged(done)
        self._count("staged", staged["segments"])
        return staged

    def _staged(self, rows: pa.Table) -> pa.Table:
        import ray

        key = f"{self.me} {uuid.uuid4().hex}"
        if not ray.get(self.gate.enter.remote(key, ray.get_runtime_context().current_actor)):
            raise RuntimeError("the run was left")
        try:
            return self.stage(rows)
        finally:
            self.gate.leave.remote(key)

    def _count(self, name: str, values: pa.ChunkedArray) -> None:
        if self.meter:
            self.meter.add.remote({name: pc.sum(values).as_py() or 0})


@dataclass(frozen=True, slots=True)
class Ran:
    """How a dataflow ended: with so many actors, and whether it stopped at its budget, or to give way to another."""

    actors: int = 0
    budget_spent: bool = False
    gave_way: bool = False

    @property
    def partial(self) -> bool:
        """Whether a part of the work was left on purpose."""
        return self.budget_spent or self.gave_way


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataflow:
    """Read -> embed and stage over a stream of shards."""

    read: ReadAssets
    space: Space
    stage: StageRows
    config: RunConfig

    def run(
        self,
        shards: Iterable[pa.Table],
        assets: int,
        progress: Progress,
        gpu_hours: float | None = None,
        wanted: Callable[[], bool] = lambda: False,
    ) -> Ran:
        """Run the shards through the pool; progress is told several times a second.

        Args:
            shards: listing rows, one table for each decode task.
            assets: how many rows they are.
            progress: who watches.
            gpu_hours: actor-hours after which the run stops early; what is staged by then stays.
            wanted: asked after each block: whether to stop early because another writer waits.
        """
        import ray

        resources = Resources.of(self.config)
        meter = ray.remote(num_cpus=0)(_Meter).remote() if progress.watches else None
        seconds = None if gpu_hours is None else gpu_hours * 3600 / resources.actors
        started = time.monotonic()
        with _watched(meter, assets, progress), explained_workers(self.stage.table.uri), _gated() as gate:
            staged = self._dataset(list(shards), resources, gate, meter)
            # Held by name: Ray kills the pool with the last reference, and what is being written may be finished.
            blocks = iter(staged.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0))
            for _ in blocks:
                if seconds is not None and time.monotonic() - started > seconds:
                    return Ran(resources.actors, budget_spent=True)
                if wanted():
                    return Ran(resources.actors, gave_way=True)
        return Ran(resources.actors)

    def _dataset(self, shards: list[pa.Table], resources: Resources, gate: Any, meter: Any) -> Any:
        import ray.data

        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.enable_operator_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = max(self.read.block_bytes, 1 << 20)
        # Else the reads fill whatever object store there is, and the peak grows with the corpus up to that.
        context.execution_options.resource_limits = ray.data.ExecutionResources(
            object_store_memory=_BLOCKS_AHEAD * context.target_max_block_size * max(resources.actors, cores())
        )
        pool: dict[str, Any] = (
            {"num_gpus": 1, "num_cpus": _ACTOR_CPUS} if resources.gpu else {"num_cpus": _ACTOR_CPUS}
        )
        model = (
            self.read.spec,
            self.space,
            self.stage,
            self.config,
            resources.threads,
            gate,
            meter,
        )
        return (
            ray.data.from_arrow(shards)
            .map_batches(
                _Read(self.read, meter), batch_size=None, batch_format="pyarrow", num_cpus=_READ_CPUS
            )
            .map_batches(
                _Embed,
                fn_constructor_args=model,
                batch_size=None,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=resources.actors, enable_true_multi_threading=True),
                max_concurrency=_ACTOR_THREADS,
                **pool,
            )
        )


@contextmanager
def _watched(meter: Any, assets: int, progress: Progress) -> Iterator[None]:
    if meter is None:
        yield
        return
    import ray

    done = threading.Event()

    def poll() -> None:
        while not done.wait(_POLL_SECONDS):
            progress.update(_snapshot(ray.get(meter.read.remote()), assets))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
        progress.update(_snapshot(ray.get(meter.read.remote()), assets))
    finally:
        done.set()
        thread.join()
        ray.kill(meter)


def _snapshot(counts: dict[str, int], assets: int) -> Snapshot:
    errors = {name[6:]: n for name, n in counts.items() if name.startswith("error:")}
    plain = {name: n for name, n in counts.items() if ":" not in name}
    return Snapshot(assets=assets, errors=errors, failed=sum(errors.values()), **plain)
