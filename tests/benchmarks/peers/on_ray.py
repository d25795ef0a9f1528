"""Raw Ray Data as its documentation teaches: read, map, an actor class in `map_batches`, write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import ray.data

from tests.benchmarks.peers.work import BATCH, Clocked, Embedder, Work, own_cluster


class RayEmbedder:
    """The actor class of the guide to offline inference."""

    def __init__(self, spec: Clocked) -> None:
        self.embedder = Embedder(spec)

    def __call__(self, batch: pa.Table) -> pa.Table:
        vectors = self.embedder.vectors(batch["parts"])
        return batch.drop_columns(["parts"]).append_column("embedding", vectors)


def ray_data(work: Work) -> None:
    """A cluster of its own, one actor: with as many as cores nothing is left that reads."""
    own_cluster()

    def segments(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for segment in work.segments(row["path"], row["bytes"]).to_pylist():
            yield {"path": row["path"], **segment}

    (
        ray.data.read_binary_files(work.corpus, include_paths=True)
        .flat_map(segments)
        .map_batches(
            RayEmbedder,
            fn_constructor_kwargs={"spec": work.spec},
            batch_size=BATCH,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        .write_parquet(work.out)
    )
