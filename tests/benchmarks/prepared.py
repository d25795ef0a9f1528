"""What prepared media save a backfill, and what they cost its vectors.

`python -m tests.benchmarks.prepared [--model M] [--source FOLDER] [--rounds N]` embeds the test corpus (that of the
demo) with `keep_prepared`, then reads it as a backfill by the same model does, from the originals and from what was
kept, in interleaved rounds: seconds of reading, decoding and preparing in one process and its decoder child, medians.
The model's seconds are those of one pass over what was read. Vectors of both ways are compared, segment by segment.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import psutil
import pyarrow as pa
import pyarrow.compute as pc

from operators.embed import EmbedSegments
from operators.lake.files import find
from operators.lake.layout import prepared_name
from operators.lake.tables import Table
from operators.model.registry import DEFAULT_MODEL, resolve
from operators.prepared.store import Prepared
from operators.read import ReadAssets
from operators.storage import Storage
from pipelines.backfill import reference
from pipelines.beside import Beside
from pipelines.embed import EmbedJob
from pipelines.engine.cluster import cluster, cores
from pipelines.prepared import with_kept
from pipelines.reader import LakeReader
from schemas.config import Policy
from schemas.corpus import Backfill
from schemas.space import Space
from schemas.tables import KEPT_COLUMN, SEGMENT_KIND

CORPUS = Path(__file__).resolve().parents[2] / "infra" / "demo" / "corpus"
KINDS = {"video": ("video",), "PDF": ("page",), "video and PDF": ("video", "page"), "the whole": ()}
THREADS = 1


@dataclass(frozen=True)
class Spent:
    """Seconds of reading: on the clock, and of CPU in this process and its children."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Ways:
    """The two ways to read, and the listings that they read: without and with the places of what is kept."""

    originals: ReadAssets
    prepared: ReadAssets
    listing: pa.Table
    kinds: dict[str, str]

    @classmethod
    def of(cls, job: EmbedJob, model: str) -> Ways:
        """For a lake that the job has filled."""
        reader = LakeReader.open(job.lake)
        beside = Beside.of(reader, job.corpus, Backfill(model=reference(model)))
        name = prepared_name(job.recipe)
        version = reader.catalog.corpora[job.corpus].prepared[name]
        media = Prepared(Table(reader.layout.prepared(job.corpus, name), Storage()), version)
        listing = with_kept(beside.listing, media.open(), job.spec, job.recipe)
        table = reader.assets(job.corpus).to_table(columns=["uri", "modality"])
        kinds = dict(zip(*(column.to_pylist() for column in table.columns), strict=True))
        return cls(job.reader(beside.grants), job.reader(beside.grants, media), listing, kinds)

    def part(self, modalities: tuple[str, ...]) -> pa.Table:
        """The assets of these modalities that are kept; all that are kept without one."""
        uris = self.listing["uri"].to_pylist()
        chosen = [not modalities or self.kinds[uri] in modalities for uri in uris]
        return self.listing.filter(pc.and_(pa.array(chosen), pc.is_valid(self.listing[KEPT_COLUMN])))


def read(reader: ReadAssets, shard: pa.Table) -> pa.Table:
    """The prepared segments of a shard, in order."""
    rows = pa.concat_tables(reader(shard))
    return rows.filter(pc.equal(rows["kind"], SEGMENT_KIND)).sort_by(
        [("uri", "ascending"), ("ordinal", "ascending")]
    )


def spent(work: Callable[[], object]) -> Spent:
    """What a piece of work takes."""
    wall, cpu = time.perf_counter(), _cpu()
    work()
    return Spent(time.perf_counter() - wall, _cpu() - cpu)


def _cpu() -> float:
    mine = psutil.Process()
    times = [process.cpu_times() for process in (mine, *mine.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def timings(ways: Ways, rounds: int) -> dict[str, tuple[Spent, Spent]]:
    """For each part of the corpus the median of originals and of prepared media."""
    found: dict[str, list[tuple[Spent, Spent]]] = {name: [] for name in KINDS}
    for number in range(rounds + 1):
        for name, modalities in KINDS.items():
            shard = ways.part(modalities)
            both = ((ways.originals, shard.drop_columns([KEPT_COLUMN])), (ways.prepared, shard))
            order = both if number % 2 else both[::-1]
            pair = [spent(lambda one=one: sum(t.num_rows for t in one[0](one[1]))) for one in order]  # type: ignore[misc]
            if number:  # the first round starts the child and fills caches
                found[name].append((pair[0], pair[1]) if number % 2 else (pair[1], pair[0]))
    return {
        name: (_median([a for a, _ in pairs]), _median([b for _, b in pairs]))
        for name, pairs in found.items()
    }


def _median(times: list[Spent]) -> Spent:
    return Spent(statistics.median(t.wall for t in times), statistics.median(t.cpu for t in times))


def vectors(engine: EmbedSegments, rows: pa.Table) -> npt.NDArray[np.float32]:
    """Full-width unit vectors of read segments: float32 `[segments, dim]`."""
    column = engine(rows)[engine.space.vector_fields[0].name].combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), -1)


def fidelity(ways: Ways, engine: EmbedSegments) -> tuple[pl.DataFrame, dict[str, float]]:
    """Cosines by modality, and the model's seconds for each part of the corpus."""
    frames, seconds = [], {}
    for name, modalities in KINDS.items():
        shard = ways.part(modalities)
        kept = read(ways.prepared, shard)
        made: list[npt.NDArray[np.float32]] = []
        seconds[name] = spent(lambda rows=kept, made=made: made.append(vectors(engine, rows))).wall  # type: ignore[misc]
        if not modalities:
            decoded = read(ways.originals, shard.drop_columns([KEPT_COLUMN]))
            assert decoded["segment_id"].equals(kept["segment_id"]), "the same segments both ways"
            cosine = np.sum(vectors(engine, decoded) * made[0], axis=1)
            frames.append(pl.DataFrame({"modality": kept["modality"].to_pylist(), "cosine": cosine}))
    by_modality = pl.concat(frames).group_by("modality").agg(
        pl.len().alias("segments"), pl.col("cosine").mean().alias("mean"), pl.col("cosine").min().alias("least")
    )  # fmt: skip
    return by_modality.sort("modality"), seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--source", default=str(CORPUS))
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    spec = resolve(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        job = EmbedJob(
            sources=(arguments.source,),
            lake=folder,
            spec=spec,
            keep_prepared=True,
            policy=Policy(coverage_floor=0),
        )
        with cluster():
            job.run()
        ways = Ways.of(job, arguments.model)
        measured = timings(ways, arguments.rounds)
        engine = EmbedSegments(engine=spec.load("cpu", THREADS), space=Space(card=spec.card, recipe=job.recipe),
                               token_budget=job.config.token_budget)  # fmt: skip
        cosines, model = fidelity(ways, engine)
        kept = sum(file.size for file in find(Storage(), f"{folder}/{job.corpus}/prepared"))
        show(ways, measured, model)
        originals = pc.sum(ways.part(())["size"]).as_py()
    print(f"\n{originals / 1e6:.1f} MB of originals, {kept / 1e6:.1f} MB kept\n")
    print("| modality | segments | mean cosine | least |\n|---|---|---|---|")
    for row in cosines.iter_rows(named=True):
        print(f"| {row['modality']} | {row['segments']} | {row['mean']:.4f} | {row['least']:.4f} |")


def show(ways: Ways, measured: dict[str, tuple[Spent, Spent]], model: dict[str, float]) -> None:
    """The table."""
    print(f"{cores()} cores; seconds of wall (CPU); the model on {THREADS} thread")
    print(
        "| part | assets | originals | prepared | ratio, wall | ratio, CPU | model | ratio with the model |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, (old, new) in measured.items():
        whole = (old.wall + model[name]) / (new.wall + model[name])
        both = " | ".join(f"{way.wall:.2f} ({way.cpu:.2f})" for way in (old, new))
        print(
            f"| {name} | {ways.part(KINDS[name]).num_rows} | {both} "
            f"| {old.wall / new.wall:.1f} | {old.cpu / new.cpu:.1f} | {model[name]:.2f} | {whole:.2f} |"
        )


if __name__ == "__main__":
    main()
