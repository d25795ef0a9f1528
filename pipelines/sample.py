"""A sample of a space's rows, held in memory: what maps between two spaces are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import lance
import polars as pl

from pipelines.query import any_of
from pipelines.vectors import Matrix, matrix
from schemas.space import embedding_column

ALL = ""
"""Stands for every modality."""
_FIRST = 8
"""Segments of an asset, at most: one book must not be all of it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Segments of sampled assets: `rows` of `uri`, `ordinal` and `modality`, and their unit vectors `[rows, width]`."""

    rows: pl.DataFrame
    vectors: Matrix

    @classmethod
    def read(cls, table: lance.LanceDataset, uris: list[str], width: int) -> Self:
        """The first segments of some assets of a space."""
        column, names = embedding_column(width), ["uri", "ordinal", "modality"]
        found = table.to_table(columns=[*names, column], filter=f"{any_of(uris)} AND ordinal < {_FIRST}")
        return cls(pl.DataFrame(pl.from_arrow(found.select(names))), matrix(found[column], width))

    @property
    def kinds(self) -> set[str]:
        """The modalities in it."""
        return set(self.rows["modality"])

    def of(self, kind: str) -> Matrix:
        """The vectors of a modality, of all when it has no name."""
        return self.vectors if kind == ALL else self.vectors[(self.rows["modality"] == kind).to_numpy()]
