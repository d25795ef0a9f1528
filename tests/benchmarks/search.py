"""`python -m tests.benchmarks.search`: two-stage search against comparing every row, on clustered vectors.

Vectors are seeded points around cluster centres; dimension i has a spread of `i ** -decay`, as the first dimensions of
Matryoshka vectors say more than the last. Queries are further points of the same clusters. Each kind of
index is built and measured as `embedlake index` does it, and every query is asked both ways, one after the other.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rich.console import Console
from rich.table import Table as Shown

from operators.embed import widths
from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.storage import Storage
from pipelines.finding import Find, Wanted
from pipelines.index import IndexJob
from pipelines.reader import LakeReader
from schemas.catalog import Opened, Published
from schemas.recipe import Recipe
from schemas.space import IndexKind, Space
from schemas.tables import ASSETS, space_schema
from tests.models.hashed import HashSpec

CORPUS = "clustered"
DIM, WIDTHS = 768, (768, 256, 128)
CLUSTERS, SPREAD = 1000, 0.7
_BATCH = 10_000
Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Points:
    """Seeded points around cluster centres."""

    decay: float
    seed: int = 0

    def __call__(self, count: int, part: int) -> Vectors:
        """Unit vectors `[count, 768]`; another `part` has other points of the same clusters."""
        centres = np.random.default_rng(self.seed).standard_normal((CLUSTERS, DIM), np.float32)
        rng = np.random.default_rng((self.seed, part))
        around = centres[rng.integers(0, CLUSTERS, count)]
        points = around + SPREAD * rng.standard_normal((count, DIM), np.float32)
        points *= np.arange(1, DIM + 1, dtype=np.float32) ** -self.decay
        return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True), np.float32)


def make_lake(lake: str, rows: int, points: Points, sizes: tuple[int, ...] = WIDTHS) -> Space:
    """A corpus of so many rows, written in batches as a run would."""
    layout, storage = Layout(lake), Storage()
    card = HashSpec("clustered").card.model_copy(update={"widths": sizes})
    space = Space(card=card, recipe=Recipe())
    segments = Table(layout.space(CORPUS, space.id), storage)
    assets = Table(layout.assets(CORPUS, space.id), storage)
    opened = segments.ensure(space_schema(space)).version, assets.ensure(ASSETS).version
    at, log = datetime(2026, 1, 1, tzinfo=UTC), CatalogLog(layout, storage)
    same: dict[str, Any] = {"corpus": CORPUS, "space": space.id, "at": at}
    state = log.append(log.read(), Opened(space_version=opened[0], assets_version=opened[1], **same))
    batches = pa.RecordBatchReader.from_batches(space_schema(space), _batches(space, rows, points))
    version = segments.commit("r1", opened[0], segments.stage(batches), [])
    log.append(state, Published(space_version=version, assets_version=opened[1], run_id="r1", **same))
    return space


def _batches(space: Space, rows: int, points: Points) -> Iterator[pa.RecordBatch]:
    schema = space_schema(space)
    for start in range(0, rows, _BATCH):
        count = min(_BATCH, rows - start)
        names = pa.array([f"s3://bucket/{start + n:08d}.txt" for n in range(count)])
        kinds = pa.array([("text", "image", "page")[n % 3] for n in range(count)])
        columns: dict[str, pa.Array] = {
            "segment_id": names,
            "uri": names,
            "modality": kinds,
            "ordinal": pa.array(np.zeros(count, np.int32)),
            "text": pa.array([f"row {start + n} of a table" for n in range(count)]),
            "tokens": pa.array(np.full(count, 6, np.int32)),
            "run_id": pa.array(["r1"] * count),
        }
        vectors = points(count, 1 + start)[:, : space.card.dim]
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        made = widths(vectors, space, np.full(count, True))
        columns |= {f.name: column for f, column in zip(space.vector_fields, made, strict=True)}
        arrays = [columns.get(f.name, pa.nulls(count, f.type)) for f in schema]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _timed(find: Find, wanted: Wanted) -> tuple[list[str], float]:
    started = time.perf_counter()
    uris = find(wanted)["uri"].to_pylist()
    return uris, 1000 * (time.perf_counter() - started)


def compare(lake: str, space: Space, kind: IndexKind, queries: Vectors) -> tuple[str, ...]:
    """Build an index of a kind, and ask every query both ways."""
    started = time.perf_counter()
    finder = IndexJob(lake=lake, corpus=CORPUS, space=space.id, kind=kind).build().finder
    seconds = time.perf_counter() - started
    assert finder is not None
    table = LakeReader.open(lake).segments(CORPUS)
    size = sum(i.total_size_bytes or 0 for i in table.describe_indices() if i.name.startswith("embedding_"))
    kept, quick, brute = [], [], []
    for query in queries:
        wanted = Wanted(vector=query, width=space.card.dim, limit=10)
        found, fast = _timed(Find(table, finder), wanted)
        truth, slow = _timed(Find(table, None), wanted)
        kept.append(len(set(found) & set(truth)) / len(truth))
        quick.append(fast)
        brute.append(slow)
    fast, slow = statistics.median(quick), statistics.median(brute)
    look = f"{finder.probes}/{finder.partitions} x {finder.candidates}"
    return (
        kind, str(finder.width), look, f"{seconds:.0f}", f"{size / 1e6:.1f}", f"{finder.recall:.3f}",
        f"{np.mean(kept):.3f}", f"{fast:.1f}", f"{slow:.1f}", f"{fast / slow:.3f}",
    )  # fmt: skip


def main() -> None:
    """Measure each kind of index and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--decay", type=float, default=0.25)
    parser.add_argument("--kinds", nargs="+", default=get_args(IndexKind))
    given = parser.parse_args()
    points = Points(given.decay)
    title = f"{given.rows:,} x {DIM}, recall@10 and median ms of {given.queries} queries, decay {given.decay}"
    shown = Shown(
        "kind", "width", "probes x candidates", "build s", "MB", "measured", "recall@10", "ms", "every row ms", "ratio",
        title=title,
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="embedlake-search-") as folder:
        lake = str(Path(folder) / "lake")
        space = make_lake(lake, given.rows, points)
        queries = points(given.queries, 0)
        for kind in given.kinds:
            shown.add_row(*compare(lake, space, kind, queries))
    Console(width=120).print(shown)


if __name__ == "__main__":
    main()
