"""embedlake as it ships: its own cluster, its own defaults, decoders in children, a lake of Lance tables."""

from __future__ import annotations

from pipelines.embed import EmbedJob
from tests.benchmarks.peers.work import Work


def embedlake(work: Work) -> None:
    """The main job; run again, it continues or does what has changed."""
    EmbedJob(sources=(work.corpus,), lake=work.out, spec=work.spec, recipe=work.recipe).run()
