"""A corpus as points in a plane: sampled vectors, laid out so that near ones stay near."""

from __future__ import annotations

from typing import cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.locators import locate
from pipelines.reader import LakeReader
from pipelines.vectors import Matrix, matrix, unit
from schemas.space import embedding_column
from schemas.tables import LOCATOR

SAMPLE = 20_000
_NEIGHBOURS = 15
_TEXT = 400
_PLACE = [field.name for field in LOCATOR]


def laid_out(reader: LakeReader, corpus: str, sample: int = SAMPLE, seed: int = 0) -> pa.Table:
    """Sampled segments of the live space with a place each: the same seed and lake give the same map.

    Args:
        reader: of the lake.
        corpus: in which.
        sample: segments, at most.
        seed: of the sample and of the layout.

    Returns:
        `id` int64, `x` and `y` float32, `modality`, `name`, `where`, `text` (its beginning), `uri`, `segment_id`.

    Raises:
        LakeError: the table cannot be read.
    """
    table, space = reader.segments(corpus), reader.space(corpus)
    count = table.count_rows()
    chosen = np.sort(np.random.default_rng(seed).choice(count, min(sample, count), replace=False))
    width = space.widths[0]
    columns = ["segment_id", "uri", "modality", "text", *_PLACE, embedding_column(width)]
    found = table.take(chosen, columns=columns)
    places = project(matrix(found[embedding_column(width)], width), seed)
    rows = found.select(["text", "uri", *_PLACE]).to_pylist()
    return pa.table(
        {
            "id": pa.array(range(len(rows)), pa.int64()),
            "x": pa.array(places[:, 0], pa.float32()),
            "y": pa.array(places[:, 1], pa.float32()),
            "modality": found["modality"],
            "name": pa.array([row["uri"].rsplit("/", 1)[-1] for row in rows], pa.string()),
            "where": pa.array([locate(row) for row in rows], pa.string()),
            "text": pa.array([_beginning(row["text"], row["uri"]) for row in rows], pa.string()),
            "uri": found["uri"],
            "segment_id": found["segment_id"],
        }
    )


def project(vectors: Matrix, seed: int) -> npt.NDArray[np.float32]:
    """Vectors `[rows, width]` as places `[rows, 2]`: by UMAP where it is installed and there is enough to lay out.

    Else along the two directions in which the vectors differ most.
    """
    if len(vectors) > _NEIGHBOURS:
        try:
            from umap import UMAP
        except ImportError:
            return _principal(vectors)
        layout = UMAP(n_neighbors=_NEIGHBOURS, metric="cosine", random_state=seed, n_jobs=1)
        return cast(npt.NDArray[np.float32], layout.fit_transform(unit(vectors)))
    return _principal(vectors)


def _principal(vectors: Matrix) -> npt.NDArray[np.float32]:
    """PCA; a sign of its axes is chosen, which the decomposition leaves open."""
    centred = unit(vectors) - unit(vectors).mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    two = np.zeros((2, vectors.shape[1]), np.float32)
    two[: len(axes[:2])] = axes[:2]
    signs = np.sign(two[np.arange(2), np.abs(two).argmax(axis=1)])
    return np.asarray(centred @ (two * signs[:, None]).T, np.float32)


def _beginning(text: str | None, uri: str) -> str:
    return " ".join((text or uri.rsplit("/", 1)[-1]).split())[:_TEXT]
