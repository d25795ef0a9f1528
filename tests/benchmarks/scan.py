"""`python -m tests.benchmarks.scan`: how many bytes an SQL query reads, of a seeded table of 1,000,000 x 128 float32.

Bytes are those that Lance asked its storage for, all else is the real thing: the lake is published as a run would,
and `pipelines.sql` answers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table

from pipelines.reader import LakeReader
from pipelines.sql import opened
from schemas.recipe import Recipe
from schemas.space import Space, embedding_column
from schemas.tables import ASSETS, space_schema
from tests.lakes import SPEC, publish

CORPUS, WIDTH = "corpus", 128
QUERIES = {
    "no column, filtered": f"SELECT count(*) FROM {CORPUS} WHERE tokens >= 256",
    "two columns, filtered": f"SELECT uri, tokens FROM {CORPUS} WHERE tokens >= 256",
    "the vector, filtered": f"SELECT {embedding_column(WIDTH)} FROM {CORPUS} WHERE tokens >= 256",
    "the vector, 1 row of 100": f"SELECT {embedding_column(WIDTH)} FROM {CORPUS} WHERE tokens >= 507",
    "*, filtered": f"SELECT * FROM {CORPUS} WHERE tokens >= 256",
}
"""`filtered` keeps half of the rows."""
_BATCH = 50_000


@dataclass(frozen=True)
class Scan:
    """What one query cost."""

    query: str
    rows: int
    bytes_read: int
    seconds: float


class _Watched(LakeReader):
    """A reader that remembers the tables that it opened."""

    handles: dict[str, lance.LanceDataset] = {}  # noqa: RUF012

    def segments(self, name: str, space: str | None = None) -> lance.LanceDataset:
        return self.handles.setdefault(name, super().segments(name, space))


def make_wide_lake(lake: str, rows: int, seed: int = 0) -> None:
    """A corpus of `rows` segments with metadata, text and one vector of 128, made a batch at a time."""
    space = Space(card=SPEC.card.model_copy(update={"widths": (WIDTH,)}), recipe=Recipe())
    schema = space_schema(space)
    batches = pa.RecordBatchReader.from_batches(schema, _batches(schema, rows, np.random.default_rng(seed)))
    publish(lake, CORPUS, space, batches, ASSETS.empty_table())


def scans(lake: str) -> Iterator[Scan]:
    """Each query in a session of its own, with what Lance read for it."""
    for name, statement in QUERIES.items():
        _Watched.handles.clear()
        reader = _Watched.open(lake)
        started = time.monotonic()
        with opened(reader) as session:
            (result,) = session.run(statement)
            rows = sum(batch.num_rows for batch in result.rows().batches)
        stats = _Watched.handles[CORPUS].io_stats_snapshot()
        yield Scan(name, rows, stats.read_bytes, time.monotonic() - started)


def _batches(schema: pa.Schema, rows: int, random: np.random.Generator) -> Iterator[pa.RecordBatch]:
    sentences = pa.array([" ".join(random.choice(_WORDS, 12)) for _ in range(1000)])
    for start in range(0, rows, _BATCH):
        count = min(_BATCH, rows - start)
        number = pc.utf8_lpad(pa.array(np.arange(start, start + count)).cast(pa.string()), 12, "0")
        vectors = random.standard_normal((count, WIDTH), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made = {
            "segment_id": pc.binary_join_element_wise("segment", number, "-"),
            "uri": pc.binary_join_element_wise("s3://bucket/reports", number, "/"),
            "modality": pa.repeat("text", count),
            "ordinal": pa.repeat(pa.scalar(0, pa.int32()), count),
            "text": sentences.take(pa.array(random.integers(0, len(sentences), count))),
            "tokens": pa.array(random.integers(0, 512, count, dtype=np.int32)),
            embedding_column(WIDTH): pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), WIDTH),
            "run_id": pa.repeat("r1", count),
        }
        columns = [made.get(field.name, pa.nulls(count, field.type)) for field in schema]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


_WORDS = [f"word{n}" for n in range(5000)]


def main() -> None:
    """Make the lake, run every query, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lake = f"{folder}/lake"
        make_wide_lake(lake, arguments.rows)
        title = f"bytes read of {arguments.rows:,} rows, width {WIDTH}"
        table = Table("query", "rows", "MB read", "of *", "seconds", title=title)
        found = list(scans(lake))
        for scan in found:
            share = scan.bytes_read / found[-1].bytes_read
            figures = (
                f"{scan.rows:,}",
                f"{scan.bytes_read / 1e6:.1f}",
                f"{share:.1%}",
                f"{scan.seconds:.2f}",
            )
            table.add_row(scan.query, *figures)
        Console().print(table)


if __name__ == "__main__":
    main()
