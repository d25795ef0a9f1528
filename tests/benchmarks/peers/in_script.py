"""A plain script: a loop over the files, a batch at a time, one Parquet file at the end."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.benchmarks.peers.work import BATCH, Embedder, Work


def script(work: Work) -> None:
    """Torch uses every core; nothing is decoded while the model works."""
    embedder = Embedder(work.spec)
    done: list[pa.Table] = []
    held: list[pa.Table] = []
    for file in sorted(Path(work.corpus).iterdir()):
        found = pa.Table.from_struct_array(work.segments(file.name, file.read_bytes()))
        held.append(found.append_column("path", pa.array([str(file)] * found.num_rows)))
        if sum(table.num_rows for table in held) >= BATCH:
            done.append(_embedded(embedder, pa.concat_tables(held)))
            held = []
    if held:
        done.append(_embedded(embedder, pa.concat_tables(held)))
    Path(work.out).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(done), Path(work.out) / "vectors.parquet")


def _embedded(embedder: Embedder, rows: pa.Table) -> pa.Table:
    vectors = embedder.vectors(rows["parts"])
    return rows.drop_columns(["parts"]).append_column("embedding", vectors)
