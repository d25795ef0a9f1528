"""The dataflow on Ray: names the operators, gives them resources, streams receipts back."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.read import ReadAssets
from operators.stage import StageRows
from pipelines.engine.cluster import Resources, cores
from pipelines.engine.desk import Desk
from pipelines.engine.workers import Embed, Read, Teller
from pipelines.failures import explained_workers
from pipelines.progress import Progress, Snapshot
from schemas.config import RunConfig
from schemas.report import ActorSeconds
from schemas.space import Space

_READ_CPUS = 1
_ACTOR_CPUS = 0.9  # unlike the reads', or Ray fuses both into one operator
_BLOCKS_AHEAD = 8
_POLL_SECONDS = 0.3
_GATE_SECONDS = 0.05
_PATIENCE_SECONDS = 5.0


@contextmanager
def desk() -> Iterator[Any]:
    """A run's desk; when the block ends in any way, so do the actors that began at it.

    Ray leaves the actors of a pool to whoever last refers to them, and the traceback of a failed run may: their CPUs
    would be missing for ever to the next run in this Ray.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    # Beside the driver: another node's end would take the desk with it.
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, scheduling_strategy=here)(Desk).remote()
    try:
        yield actor
    finally:
        for (handle,) in ray.get(actor.handles.remote()):
            _end(handle)
        ray.kill(actor)


@contextmanager
def gate(desk: Any) -> Iterator[None]:
    """Shuts a desk's gate, with nobody inside, when the block ends in any way.

    Ray ends a pool in its own time, and whoever holds the corpus next must not find a file come later. An actor
    that is still writing some seconds after an error is ended.
    """
    try:
        yield
    except BaseException:
        # Ray cancels what a failed task has called too: a `leave` may never come.
        _close(desk, _PATIENCE_SECONDS)
        raise
    else:
        _close(desk, math.inf)


def _close(desk: Any, patience: float) -> None:
    import ray

    until = time.monotonic() + patience
    while inside := ray.get(desk.close.remote()):
        for key, (handle,) in inside.items():
            if not _alive(handle):
                ray.get(desk.leave.remote(key))
            elif time.monotonic() > until:
                _end(handle)
        time.sleep(_GATE_SECONDS)


def _alive(handle: Any) -> bool:
    import ray

    try:
        ray.get(ray.get(handle).__ray_ready__.remote(), timeout=_GATE_SECONDS)
    except ray.exceptions.GetTimeoutError:
        return True
    except (ray.exceptions.RayActorError, ray.exceptions.ObjectLostError):
        return False
    return True


def _end(handle: Any) -> None:
    """End the actor that a handle's reference came from; one that is dead already has taken it along."""
    import ray

    with suppress(ray.exceptions.RayActorError, ray.exceptions.ObjectLostError):
        ray.kill(ray.get(handle))


@dataclass(frozen=True, slots=True)
class Ran:
    """How a dataflow ended: its actors and their time, and whether it stopped at its budget, or to give way."""

    actors: int = 0
    actor_seconds: tuple[ActorSeconds, ...] = ()
    budget_spent: bool = False
    gave_way: bool = False

    @property
    def partial(self) -> bool:
        """Whether a part of the work was left on purpose."""
        return self.budget_spent or self.gave_way


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataflow:
    """Read -> embed and stage over a stream of shards; on CPUs one operator does both."""

    read: ReadAssets
    space: Space
    stage: StageRows
    config: RunConfig

    @property
    def resources(self) -> Resources:
        """What it takes of the cluster that is there."""
        return Resources.of(self.config, self.read.spec.concurrent)

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
            shards: listing rows, each table read in one go.
            assets: how many rows they are.
            progress: who watches.
            gpu_hours: actor-hours after which the run stops early; what is staged by then stays.
            wanted: asked after each block: whether to stop early because another writer waits.
        """
        resources = self.resources
        with (
            explained_workers(self.stage.table.uri),
            desk() as actor,
            ExitStack() as held,
            gate(actor),
            _watched(actor, assets, progress),
        ):
            staged = self._dataset(list(shards), resources, Teller(actor, progress.watches))
            batches = staged.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
            # Ray kills the pool with its end, and what is being written may be finished: not before the gate's. An
            # error's traceback would hold it until Ray is gone, and its end would start another.
            blocks = held.enter_context(closing(iter(batches)))
            budget_spent = gave_way = False
            for _ in blocks:
                budget_spent = gpu_hours is not None and _lived(actor) > gpu_hours * 3600
                gave_way = not budget_spent and wanted()
                if budget_spent or gave_way:
                    break
            times = _times(actor)
        # More than the pool had at first began where it grew, and where one took a dead one's place.
        actors = max(resources.actors, min(resources.max_actors, len(times)))
        return Ran(actors, times, budget_spent, gave_way)

    def _context(self, resources: Resources) -> Any:
        """Ray Data's settings, a copy: whoever has joined Ray before keeps theirs."""
        import ray.data

        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.enable_operator_progress_bars = False
        context.print_on_execution_start = False
        held = max(self.read.block_bytes, 1 << 20)
        # Where only receipts leave an actor, each does when it is written: whoever wants the run to end waits for one.
        context.target_max_block_size = 1 if resources.decode else held
        # Else the reads fill whatever object store there is, and the peak grows with the corpus up to that.
        blocks = _BLOCKS_AHEAD * max(resources.max_actors * resources.passes, cores())
        context.execution_options.resource_limits = ray.data.ExecutionResources(
            object_store_memory=blocks * held
        )
        return context

    def _dataset(self, shards: list[pa.Table], resources: Resources, teller: Teller) -> Any:
        import ray.data

        needs = {"num_cpus": resources.passes * _ACTOR_CPUS, **({"num_gpus": 1} if resources.gpu else {})}
        read, whole = Read(self.read, teller), {"batch_size": None, "batch_format": "pyarrow"}
        model = (self.read.spec, self.space, self.stage, self.config, resources, teller)
        pool = ray.data.ActorPoolStrategy(
            min_size=resources.actors,
            max_size=resources.max_actors,
            max_concurrent_calls_per_actor=resources.calls,
            enable_true_multi_threading=True,
        )
        with ray.data.DataContext.current(self._context(resources)):
            data = ray.data.from_blocks(shards)
            if not resources.decode:
                data = data.map_batches(read, num_cpus=_READ_CPUS, **whole)
            arguments = (*model, read if resources.decode else None)
            return data.map_batches(Embed, fn_constructor_args=arguments, compute=pool, **whole, **needs)


def _lived(desk: Any) -> float:
    import ray

    seconds: float = ray.get(desk.lived.remote())
    return seconds


def _times(desk: Any) -> tuple[ActorSeconds, ...]:
    import ray

    told: list[dict[str, float]] = ray.get(desk.times.remote())
    return tuple(ActorSeconds(**{name: round(s, 3) for name, s in times.items()}) for times in told)


@contextmanager
def _watched(desk: Any, assets: int, progress: Progress) -> Iterator[None]:
    if not progress.watches:
        yield
        return
    import ray

    done = threading.Event()

    def poll() -> None:
        while not done.wait(_POLL_SECONDS):
            progress.update(_snapshot(ray.get(desk.read.remote()), assets))

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield
        progress.update(_snapshot(ray.get(desk.read.remote()), assets))
    finally:
        done.set()
        thread.join()


def _snapshot(counts: dict[str, int], assets: int) -> Snapshot:
    errors = {name[6:]: n for name, n in counts.items() if name.startswith("error:")}
    plain = {name: n for name, n in counts.items() if ":" not in name}
    # What a dead worker had read is read again.
    plain["assets_done"] = min(plain.get("assets_done", 0), assets)
    return Snapshot(assets=assets, errors=errors, failed=sum(errors.values()), **plain)
