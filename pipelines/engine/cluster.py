"""A Ray cluster for one run, and what of it a run takes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from operators.model.threads import SharedThreads
from schemas.config import RunConfig
from schemas.errors import UsageError


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


WORKER_ENV = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "LANCE_CPU_THREADS": "1",
    "LANCE_IO_THREADS": "4",
    "TOKENIZERS_PARALLELISM": "false",
}
"""Set before ray is imported: a local cluster's workers inherit it."""
_RAY_ENV = {
    # Ray prints what it has to say of dead workers on stdout, where a script reads JSON; its own files keep it.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    # Else idle workers end after a second, and each batch of a backfill waits for new ones to import everything.
    "RAY_num_workers_soft_limit": str(4 * cores()),
}
_SPARE_CPUS = 2
_SHARDS_EACH = 4
_CALLS = 2
"""Of an actor at once: while the one's rows are in the model, the other's are read or written."""
_PASSES = 4
"""Of one process at once: with more, passes wait for the interpreter."""


@contextmanager
def cluster(address: str | None = None) -> Iterator[None]:
    """A Ray cluster for one run: the one at `address`, or a local one that ends with the block.

    A cluster that the caller has already joined is used and left running.

    Raises:
        UsageError: nothing answers at `address`.
    """
    for name, value in {**WORKER_ENV, **_RAY_ENV}.items():
        os.environ.setdefault(name, value)
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
    """The embedding pool: actors that make so many passes of the model at once, each on a GPU or so many threads.

    Ray lets it grow to `max_actors` while calls wait for one, and shrink to `actors` while some are idle.
    Where they decode for themselves nothing decoded crosses to another process, and a machine has that many processes
    less; on GPUs decoding has CPUs of its own.
    """

    actors: int
    passes: int
    threads: int
    gpu: bool
    max_actors: int
    decode: bool = False

    @classmethod
    def of(cls, config: RunConfig, concurrent: bool) -> Resources:
        """One actor a GPU where the cluster has some; else a pass a core, several to an actor where they may be.

        Args:
            config: what the user says of it.
            concurrent: as `ModelSpec.concurrent`.
        """
        import ray

        total = ray.cluster_resources()
        gpus, cpus = int(total.get("GPU", 0)), max(1, int(total.get("CPU", 1)) - _SPARE_CPUS)
        most = _smallest_node() if concurrent and not gpus else 1
        found = cls.spread(config, gpus or cpus, most, gpu=gpus > 0)
        apart = found.gpu if config.decode_apart is None else config.decode_apart
        # Libraries such as pdfium may not be in two threads of a process at once.
        return replace(found, decode=config.decode.isolated and not apart)

    @classmethod
    def spread(cls, config: RunConfig, devices: int, most: int, gpu: bool = False) -> Resources:
        """A pass for each GPU, or else each CPU, at `most` so many to an actor."""
        most = min(most, _PASSES)
        actors = config.actors or max(1, devices // most)
        actors = min(actors, config.max_actors or actors)
        passes = min(most, max(1, devices // actors))
        threads = config.actor_threads or max(1, cores() // (actors * passes))
        return cls(actors, passes, threads, gpu, config.max_actors or actors)

    @property
    def calls(self) -> int:
        """Calls of an actor at once; where it decodes, one for each pass: it has rows there or reads."""
        return max(_CALLS, self.passes) if self.decode else _CALLS

    @property
    def shards(self) -> int:
        """So many at least keep whatever decodes busy to the end."""
        import ray

        readers = self.max_actors * self.calls if self.decode else int(ray.cluster_resources().get("CPU", 1))
        return _SHARDS_EACH * max(1, readers)

    def shared_threads(self, config: RunConfig) -> SharedThreads | None:
        """Threads for an actor's passes; those of a compiled model stay as they were when it was compiled."""
        if self.passes == 1 or config.compile_model:
            return None
        return SharedThreads(self.passes * self.threads)


def _smallest_node() -> int:
    """CPUs that an actor may take of any node, so that some are left to read."""
    import ray

    nodes = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    return max(1, int(min((cpus for cpus in nodes if cpus), default=1)) - _SPARE_CPUS)
