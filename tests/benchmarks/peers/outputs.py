"""What a way has written, read back: its rows, and how near its vectors are to another's."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.reader import LakeReader

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Output:
    """Rows by file name and ordinal, in no order; `unreadable` files have no footer. Vectors: `[rows, dim]`."""

    keys: list[Key]
    vectors: npt.NDArray[np.float32]
    unreadable: int = 0

    def doubled(self) -> int:
        """Rows that are there once more than they should."""
        return len(self.keys) - len(set(self.keys))

    def missing(self, other: Output) -> int:
        """Rows of the other that are not here."""
        return len(set(other.keys) - set(self.keys))

    def order(self) -> list[int]:
        """The rows' places, by key."""
        return sorted(range(len(self.keys)), key=self.keys.__getitem__)

    def nearness(self, other: Output) -> float:
        """The least cosine of two rows with the same key.

        Raises:
            ValueError: the rows are not the same.
        """
        if Counter(self.keys) != Counter(other.keys):
            raise ValueError(f"{len(self.keys)} rows and {len(other.keys)} are not of the same segments")
        mine, others = (one.vectors[one.order()] for one in (self, other))
        scale = np.linalg.norm(mine, axis=1) * np.linalg.norm(others, axis=1)
        return float(((mine * others).sum(axis=1) / scale).min())


def read(way: str, out: Path) -> Output:
    """A lake, or a folder of Parquet files."""
    if way == "embedlake":
        return _lake(out)
    tables, unreadable = [], 0
    for file in sorted(out.rglob("*.parquet")):
        try:
            tables.append(pq.ParquetFile(file).read(columns=["path", "ordinal", "embedding"]))
        except pa.ArrowInvalid:
            unreadable += 1
    if not tables:
        return Output([], np.empty((0, 1), np.float32), unreadable)
    names = [path for table in tables for path in table["path"].to_pylist()]
    ordinals = [ordinal for table in tables for ordinal in table["ordinal"].to_pylist()]
    vectors = np.concatenate([_matrix(table["embedding"]) for table in tables])
    return Output(_keys(names, ordinals), vectors, unreadable)


def _lake(out: Path) -> Output:
    segments = LakeReader.open(str(out)).segments("corpus")
    fields = [f for f in segments.schema if pa.types.is_fixed_size_list(f.type)]
    widest = max(fields, key=lambda f: f.type.list_size).name
    rows = segments.to_table(columns=["uri", "ordinal", widest])
    return Output(_keys(rows["uri"].to_pylist(), rows["ordinal"].to_pylist()), _matrix(rows[widest]))


def _keys(names: list[str], ordinals: list[int]) -> list[Key]:
    return [(Path(name).name, ordinal) for name, ordinal in zip(names, ordinals, strict=True)]


def _matrix(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    whole = column.combine_chunks()
    return whole.flatten().to_numpy(zero_copy_only=False).reshape(len(whole), -1).astype(np.float32)
