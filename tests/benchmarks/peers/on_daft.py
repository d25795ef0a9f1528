"""Daft as its documentation teaches: a glob, a download, functions over columns, a class that holds the model."""

from __future__ import annotations

from typing import Any

import daft
import pyarrow as pa
from daft import DataType, col

from tests.benchmarks.peers.work import BATCH, SEGMENT, Embedder, Work, own_cluster


def daft_on_ray(work: Work) -> None:
    """`daft_udf` on Daft's other runner, the one that has more machines than this."""
    own_cluster()
    daft.set_runner_ray()
    daft_udf(work)


def daft_udf(work: Work) -> None:
    """The same work for each row; the model in a class of one instance, whose torch uses every core."""

    # PDFium is not thread-safe, and Daft calls functions in threads where it is not told otherwise.
    @daft.func.batch(
        return_dtype=DataType.from_arrow_type(pa.list_(SEGMENT)),
        use_process=work.workload in ("documents", "mixed"),
    )
    def segments(paths: daft.Series, bodies: daft.Series) -> Any:
        found = [
            work.segments(path, data)
            for path, data in zip(paths.to_pylist(), bodies.to_pylist(), strict=True)
        ]
        ends = pa.array([0, *(len(one) for one in found)], pa.int32()).to_numpy().cumsum()
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.concat_arrays(found))

    @daft.cls
    class DaftEmbedder:
        def __init__(self) -> None:
            self.embedder = Embedder(work.spec)

        @daft.method.batch(
            return_dtype=DataType.fixed_size_list(DataType.float32(), work.spec.card.dim), batch_size=BATCH
        )
        def __call__(self, parts: daft.Series) -> Any:
            return self.embedder.vectors(parts.to_arrow())

    (
        daft.from_glob_path(f"{work.corpus}/*")
        .with_column("data", col("path").download())
        .with_column("segment", segments(col("path"), col("data")))
        .select("path", "segment")
        .explode("segment")
        .select("path", col("segment")["ordinal"].alias("ordinal"), col("segment")["parts"].alias("parts"))
        .with_column("embedding", DaftEmbedder()(col("parts")))
        .select("path", "ordinal", "embedding")
        .write_parquet(work.out)
    )
