"""`python -m tests.benchmarks.engine`: EmbeddingGemma 2 packed, padded, and under stock sentence-transformers.

The same shuffled inputs go through all three in interleaved rounds; the vectors are compared. On CPU seconds are of
the processor, on CUDA of the clock. `stock` includes its own preprocessing, as `encode` does it; `packed, whole` is
our preprocessing and the packed engine, to hold against it. Without `--model` the weights are random. With
`--pipeline` a run of the whole pipeline over so many pictures and texts says what its actors' time went into.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from sentence_transformers import SentenceTransformer

from operators.model.device import quiet_transformers, token_budget, weights_dtype
from operators.model.gemma_engine import GemmaEngine
from operators.model.registry import resolve
from operators.parts import Part
from tests.benchmarks.corpus import make_corpus
from tests.benchmarks.engine_inputs import KINDS, Sample, make_samples
from tests.benchmarks.engine_towers import TowerRate, matmul_rate, tower_rates
from tests.benchmarks.padded_gemma import PaddedGemma
from tests.benchmarks.results import keep
from tests.models.reference_gemma import reference_model
from tests.models.tiny_gemma import Sizes, build_tiny_gemma

SMALL = Sizes(hidden=256, layers=6, tower_layers=4, heads=4, head=64, window=64, dim=256, image_tokens=70)
NO_PROMPT = "none"
Vectors = npt.NDArray[np.float32]
Way = Callable[[Sequence[Sample]], Vectors]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One kind of input: medians of the rounds in seconds, and the least cosine with the padded reference."""

    kind: str
    inputs: int
    tokens: int
    seconds: dict[str, float]
    cosines: dict[str, float]


class Ways:
    """The three ways over one model folder."""

    def __init__(self, folder: Path, device: torch.device, compiled: bool) -> None:
        quiet_transformers()
        spec = resolve(str(folder))
        self.device, self.dtype = device, weights_dtype(device)
        self.prepare = spec.preparer(NO_PROMPT).prepare
        budget = token_budget(device)
        self.packed = GemmaEngine.read(folder, spec.card.model_id, device, budget)
        if compiled:
            self.packed.compile()
        self.padded = PaddedGemma(folder, device, self.dtype, budget)
        self.exact = self.padded
        if self.dtype is not torch.float32:
            self.exact = PaddedGemma(folder, device, torch.float32, budget // 4)
        self.stock = _stock(folder, device, self.dtype)

    def measure(self, kind: str, samples: Sequence[Sample], rounds: int) -> Line:
        """Every way in turn, in so many rounds after one that is not counted."""
        prepared, tokens = self.prepare([sample.parts for sample in samples])
        theirs = [sample.theirs for sample in samples]
        ways: dict[str, Callable[[], Vectors]] = {
            "stock": lambda: self.stock.encode(theirs, batch_size=32, show_progress_bar=False),
            "padded": lambda: self.padded.embed(prepared),
            "packed": lambda: self.packed.embed(prepared),
            "packed, whole": lambda: self.packed.embed(self.prepare([s.parts for s in samples])[0]),
        }
        found = {name: way() for name, way in ways.items()}
        reference = found["padded"] if self.exact is self.padded else self.exact.embed(prepared)
        cosines = {name: _least_cosine(vectors, reference) for name, vectors in found.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                seconds[name].append(self.timed(way))
        medians = {name: statistics.median(times) for name, times in seconds.items()}
        return Line(kind=kind, inputs=len(samples), tokens=sum(tokens), seconds=medians, cosines=cosines)

    def timed(self, way: Callable[[], Any]) -> float:
        """Seconds of one call: the processor's on CPU, the clock's on a device."""
        if self.device.type == "cpu":
            started = time.process_time()
            way()
            return time.process_time() - started
        torch.cuda.synchronize(self.device)
        started = time.perf_counter()
        way()
        torch.cuda.synchronize(self.device)
        return time.perf_counter() - started

    def media(self, samples: Sequence[Sample]) -> list[tuple[Part, ...]]:
        """The samples, prepared."""
        return self.prepare([sample.parts for sample in samples])[0]


def actor_shares(folder: Path, home: Path, count: int) -> dict[str, float]:
    """What the actors of a run over so many pictures and so many texts did, as shares of their time since loading."""
    from pipelines.embed import EmbedJob

    sources = (make_corpus(home / "corpus", count, count),)
    report = EmbedJob(sources=sources, lake=str(home / "lake"), spec=resolve(str(folder))).run()
    names = ("model", "storage", "input")
    spent = {name: sum(getattr(actor, name) for actor in report.actor_seconds) for name in names}
    return {name: seconds / sum(spent.values()) for name, seconds in spent.items()}


def _stock(folder: Path, device: torch.device, dtype: torch.dtype) -> SentenceTransformer:
    if find_spec("torchvision"):
        return SentenceTransformer(str(folder), device=str(device), model_kwargs={"dtype": dtype})
    return reference_model(folder, str(device), dtype=dtype)


def _least_cosine(found: Vectors, reference: Vectors) -> float:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(reference, axis=1)
    return float(((found * reference).sum(1) / norms).min())


def main() -> None:
    """Measure, print the tables, write and print the JSON."""
    given = parse()
    device = torch.device(given.device)
    torch.set_num_threads(given.threads)
    samples = make_samples(given.scale, given.words, given.seconds, given.frames)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(given.model) if given.model else build_tiny_gemma(Path(home) / "small", SMALL)
        ways = Ways(folder, device, given.compile)
        groups = {kind: [sample for sample in samples if sample.kind == kind] for kind in KINDS}
        lines = [
            ways.measure(kind, rows, given.rounds) for kind, rows in {**groups, "mixed": samples}.items()
        ]
        rate = matmul_rate(device, ways.dtype, ways.timed)
        towers = tower_rates(ways.packed, ways.media(samples), ways.timed)
        shares = actor_shares(folder, Path(home), given.pipeline) if given.pipeline else {}
    show(given, lines, towers, rate, shares)


def parse() -> argparse.Namespace:
    """The command line; sizes follow the device unless they are given."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.engine", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--model", help="a folder saved by sentence-transformers; a small random one when absent"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--compile", action="store_true")
    sizes = {
        "pipeline": (int, 0, 2000),
        "scale": (int, 1, 16),
        "words": (int, 120, 2000),
        "seconds": (float, 10, 30),
        "frames": (int, 3, 32),
    }
    for name, (kind, _, _) in sizes.items():
        parser.add_argument(f"--{name}", type=kind)
    given = parser.parse_args()
    for name, (_, small, large) in sizes.items():
        if getattr(given, name) is None:
            setattr(given, name, small if given.device == "cpu" else large)
    return given


def show(
    given: argparse.Namespace,
    lines: list[Line],
    towers: list[TowerRate],
    rate: float,
    shares: dict[str, float],
) -> None:
    """The tables, and the same as JSON on stdout and under `results/`."""
    table = Table(
        "inputs", "number", "tokens", "stock s", "padded s", "packed s", "padded / packed", "stock / whole",
        "least cosine", box=None,
    )  # fmt: skip
    for line in lines:
        s = line.seconds
        table.add_row(
            line.kind, str(line.inputs), str(line.tokens),
            f"{s['stock']:.2f}", f"{s['padded']:.2f}", f"{s['packed']:.2f}",
            f"{s['padded'] / s['packed']:.2f}", f"{s['stock'] / s['packed, whole']:.2f}",
            f"{line.cosines['packed']:.6f}",
        )  # fmt: skip
    rates = Table("tower", "TFLOP", "seconds", "TFLOP/s", "of the matmul rate", box=None)
    for tower in towers:
        speed = tower.flops / tower.seconds / 1e12
        rates.add_row(
            tower.name,
            f"{tower.flops / 1e12:.3f}",
            f"{tower.seconds:.2f}",
            f"{speed:.3f}",
            f"{1e12 * speed / rate:.2f}",
        )
    console = Console(width=120)
    console.print(
        f"{given.device}, {given.model or 'random weights'}, medians of {given.rounds} interleaved rounds"
    )
    console.print(table, f"matmul rate {rate / 1e12:.3f} TFLOP/s", rates, sep="\n")
    if shares:
        console.print("actors: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    document = {
        "arguments": vars(given),
        "kinds": [asdict(line) for line in lines],
        "matmul_flops_per_second": rate,
        "actors": shares,
        "towers": [asdict(tower) for tower in towers],
    }
    keep("engine", document)
    print(json.dumps(document))


if __name__ == "__main__":
    main()
