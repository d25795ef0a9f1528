"""embedlake as it ships: its own cluster, its own defaults, decoders in children, a lake of Lance tables."""

from __future__ import annotations

import atexit
from contextlib import ExitStack

from pipelines.embed import EmbedJob
from pipelines.engine.cluster import cluster
from tests.benchmarks.peers.work import Work


def embedlake(work: Work) -> None:
    """The main job; run again, it continues or does what has changed. As in the other way on Ray, that ends last."""
    held = ExitStack()
    held.enter_context(cluster())
    atexit.register(held.close)
    EmbedJob(sources=(work.corpus,), lake=work.out, spec=work.spec, recipe=work.recipe).run()
