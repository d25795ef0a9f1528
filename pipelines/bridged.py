"""The old half of a migration, searched by both models' queries at once, over a bridge between their spaces."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.bridge import LEAST, Bridge, joint
from pipelines.calibration import Calibration
from pipelines.query import Hit, Searcher
from pipelines.reader import LakeReader
from pipelines.sample import Sample
from pipelines.vectors import Matrix, matrix
from schemas.errors import UsageError
from schemas.space import embedding_column

Vector = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float64]


class BridgedHalf:
    """Scores hits of the old space by the old model and by their images in the new space, as one calibrated score."""

    def __init__(self, reader: LakeReader, old: Searcher, ours: Sample, theirs: Sample) -> None:
        """Fit the bridge.

        Args:
            reader: of the lake.
            old: searches the old space.
            ours: sampled segments of it.
            theirs: those of the same assets in the new space, cut by the same recipe.

        Raises:
            UsageError: the spaces share too few segments.
        """
        rows = ours.rows.with_row_index("ours")
        pairs = rows.join(theirs.rows.with_row_index("theirs"), on=["uri", "ordinal"], maintain_order="left")
        if pairs.height < LEAST:
            raise UsageError(
                f"--bridge wants {LEAST} segments that both spaces hold, and there are {pairs.height}"
            )
        self._reader, self._old = reader, old
        self._ours = ours.vectors[pairs["ours"].to_numpy()]
        self._theirs = theirs.vectors[pairs["theirs"].to_numpy()]
        self._kinds = pairs["modality"]
        self.bridge, self._images = Bridge.between(self._ours, self._theirs)

    def asked(self, after: Vector) -> Vector:
        """Where in the old space a query of the new model points, `[old width]`."""
        return self.bridge.asked(after)

    def __call__(self, hits: Sequence[Hit], before: Vector, after: Vector) -> list[Hit]:
        """The hits on the new space's scale, in their order.

        Args:
            hits: of the old space.
            before: the old model's query at the sample's width.
            after: the new model's.
        """
        if not hits:
            return []
        vectors = self._vectors(hits, len(before))
        first, second = vectors @ before, self.bridge.images(vectors) @ after
        kinds, scores = np.array([hit.modality for hit in hits]), np.zeros(len(hits))
        for kind in set(kinds.tolist()):
            rows = kinds == kind
            known = (self._ours @ before, self._images @ after, self._theirs @ after)
            scores[rows] = self._mapped(kind, (first[rows], second[rows]), known)
        return [replace(hit, score=score) for hit, score in zip(hits, scores.tolist(), strict=True)]

    def _mapped(
        self, kind: str, asked: tuple[Vector, Vector], known: tuple[Vector, Vector, Vector]
    ) -> Scores:
        for chosen in (self._kinds == kind, self._kinds.is_not_null()):
            mask = chosen.to_numpy()
            first, second, new = (values[mask] for values in known)
            with suppress(ValueError):  # too few of that modality
                fitted = Calibration.fit(joint(first, second, first, second), new)
                return fitted(joint(*asked, first, second))
        raise UsageError("--bridge: all sampled scores are the same")

    def _vectors(self, hits: Sequence[Hit], width: int) -> Matrix:
        """The hits' vectors in the old space, `[hits, width]`."""
        names = ["uri", "segment_id", embedding_column(width)]
        ids = ", ".join(f"'{key}'" for key in sorted({str(hit.row["segment_id"]) for hit in hits}))
        table = self._reader.segments(self._old.corpus, self._old.space.id)
        found = table.to_table(columns=names, filter=f"segment_id IN ({ids})")
        where = pl.DataFrame(pl.from_arrow(found.select(names[:2]))).with_row_index("row")
        wanted = pl.DataFrame(
            {"uri": [h.uri for h in hits], "segment_id": [h.row["segment_id"] for h in hits]}
        )
        rows = wanted.join(where.unique(names[:2]), on=names[:2], how="left", maintain_order="left")["row"]
        return np.asarray(matrix(found[names[2]], width)[rows.to_numpy()])
