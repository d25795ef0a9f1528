"""What an asset costs the pipeline as corpora and clusters grow: `python -m tests.benchmarks.scale`.

Texts of 40 words go through whole runs with a model that weighs nothing, so that all that is measured is
embedlake's own: listing, planning, reading in isolated children, batching, staging, receipts, publishing. Every
run is a process of its own; what a run over 16 assets takes is taken off. CPU seconds are those of all processes,
which others on the machine spoil least. Rounds go through all sizes in turn; the tables have their medians. `beyond` is
of the assets that a size has more than the one before: no start is in it, nor what runs while actors still load. With
`--nodes` 10,000 assets run on local clusters of so many Ray nodes with as many CPUs and actors in all: on one machine
more nodes cannot be faster, but they may not cost more.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from pipelines.embed import EmbedJob
from schemas.config import RunConfig
from tests.benchmarks.corpus import WORDS
from tests.benchmarks.meter import metered
from tests.benchmarks.results import keep
from tests.models.feather import FeatherSpec

SIZES = (1_000, 10_000, 100_000)
NODES = (1, 2, 4)
NODES_ASSETS = 10_000
ACTORS = 2
_CPUS = 4
_START = 16
_FOLDER = 1_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One whole run, and its phases' seconds."""

    assets: int
    nodes: int
    wall: float
    cpu: float
    peak_mb: float
    phases: dict[str, float]


def main() -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--assets", type=int, nargs="*", default=SIZES)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--nodes", type=int, nargs="*", default=NODES)
    parser.add_argument(
        "--one", nargs=3, metavar=("SOURCE", "LAKE", "NODES"), help="one run, in this process"
    )
    arguments = parser.parse_args()
    if arguments.one:
        source, lake, nodes = arguments.one
        print(run(source, lake, int(nodes)))
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        found = rounds(home, sorted(arguments.assets), arguments.nodes, max(1, arguments.rounds))
    for nodes, sizes in found.items():
        show(f"{nodes} nodes" if nodes else "corpora", sizes)
    keep("scale", {"runs": [asdict(one) for sizes in found.values() for runs in sizes for one in runs]})


def rounds(
    home: Path, assets: Sequence[int], nodes: Sequence[int], turns: int
) -> dict[int, list[list[Measured]]]:
    """The runs by nodes and size, the smallest a start alone; each round goes through all of both."""
    sizes = {0: (_START, *assets), **dict.fromkeys(nodes, (_START, NODES_ASSETS))}
    turned = [{n: [measure(home, size, n) for size in sizes[n]] for n in sizes} for _ in range(turns)]
    return {n: [list(runs) for runs in zip(*(turn[n] for turn in turned), strict=True)] for n in sizes}


def measure(home: Path, assets: int, nodes: int = 0) -> Measured:
    """One run over a fresh lake."""
    source = corpus(home / f"in-{assets}", assets)
    with tempfile.TemporaryDirectory(dir=home) as lake:
        spent = metered(
            [sys.executable, "-m", "tests.benchmarks.scale", "--one", str(source), lake, str(nodes)]
        )
    phases: dict[str, float] = json.loads(spent.out)
    measured = Measured(assets, nodes, spent.wall, spent.cpu, spent.peak_mb, phases)
    print(json.dumps(asdict(measured)), file=sys.stderr, flush=True)
    return measured


def run(source: str, lake: str, nodes: int) -> str:
    """The run itself; the phases' seconds as JSON."""
    with ray_nodes(nodes) as address:
        job = EmbedJob(
            sources=(source,),
            lake=lake,
            spec=FeatherSpec(),
            corpus="c",
            config=RunConfig(actors=ACTORS),
            ray_address=address,
        )
        report = job.run()
    if report.counts.embedded != report.counts.listed:
        raise AssertionError(report)
    return json.dumps(report.seconds)


@contextmanager
def ray_nodes(nodes: int) -> Iterator[str | None]:
    """A cluster of so many nodes on this machine; with 0 the run makes its own."""
    if not nodes:
        yield None
        return
    from ray.cluster_utils import Cluster

    each = {"num_cpus": _CPUS // nodes}
    made = Cluster(initialize_head=True, head_node_args=each)
    for _ in range(nodes - 1):
        made.add_node(**each)
    made.wait_for_nodes()
    try:
        yield made.address
    finally:
        made.shutdown()


def corpus(folder: Path, assets: int) -> Path:
    """So many texts of 40 words, a thousand a folder; one that is there already is kept."""
    if folder.exists():
        return folder
    draw = random.Random(assets)
    for n in range(assets):
        below = folder / f"{n // _FOLDER:04d}"
        if n % _FOLDER == 0:
            below.mkdir(parents=True, exist_ok=True)
        (below / f"{n:07d}.txt").write_text(" ".join(draw.choices(WORDS, k=40)))
    return folder


def show(title: str, found: Sequence[Sequence[Measured]]) -> None:
    """A row a size, without what the first of them takes."""
    titles = ("assets", "CPU ms an asset", "beyond", "wall ms an asset", "beyond", "phases, s", "peak MB")
    table = Table(*titles, title=title, box=None)
    start = found[0]
    for before, runs in pairwise(found):
        each = [ms(first, runs, what) for what in ("cpu", "wall") for first in (start, before)]
        phases = ", ".join(f"{name} {median(r.phases[name] for r in runs):.1f}" for name in runs[0].phases)
        peak = median(r.peak_mb for r in runs)
        table.add_row(f"{runs[0].assets:,}", *each, phases, f"{peak:,.0f}")
    Console(width=130).print(table)


def ms(less: Sequence[Measured], more: Sequence[Measured], what: str) -> str:
    """Milliseconds of each asset that the larger runs had more, of medians."""
    seconds = median(getattr(r, what) for r in more) - median(getattr(r, what) for r in less)
    return f"{1000 * seconds / (more[0].assets - less[0].assets):.2f}"


if __name__ == "__main__":
    main()
