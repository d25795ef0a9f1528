"""Parts as an Arrow column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.parts import DTYPES, Part, PartKind
from schemas.tables import PART


def to_arrow(inputs: Iterable[tuple[Part, ...]]) -> pa.Array:
    """A `list<PART>` column with one row for each input; media are copied once."""
    rows = list(inputs)
    parts = list(chain.from_iterable(rows))
    columns = {
        "kind": pa.array([str(p.kind) for p in parts], pa.string()),
        "text": pa.array([p.text for p in parts], pa.string()),
        "data": _bytes(
            [None if p.data is None else p.data.astype(DTYPES[p.kind], copy=False) for p in parts]
        ),
        "shape": pa.array(
            [None if p.data is None else p.data.shape for p in parts], PART.field("shape").type
        ),
        "at_ms": pa.array([p.at_ms for p in parts], pa.int64()),
    }
    flat = pa.StructArray.from_arrays([columns[f.name] for f in PART], fields=list(PART))
    return pa.ListArray.from_arrays(_ends([len(row) for row in rows]).astype(np.int32), flat)


def _bytes(arrays: Sequence[npt.NDArray[Any] | None]) -> pa.LargeBinaryArray:
    """The bytes of arrays, each one value."""
    # Arrow's own builder grows as it goes: twice the memory of a block of media, and twice the time.
    flat = [np.empty(0, np.uint8) if a is None else a.reshape(-1).view(np.uint8) for a in arrays]
    valid = pa.array([a is not None for a in arrays], pa.bool_())
    data = np.concatenate([np.empty(0, np.uint8), *flat])
    buffers = [valid.buffers()[1], pa.py_buffer(_ends([len(a) for a in flat])), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(arrays), buffers)


def _ends(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where values of these lengths lie: the offsets of an Arrow array."""
    return np.cumsum([0, *lengths], dtype=np.int64)


def from_arrow(column: pa.Array | pa.ChunkedArray) -> list[tuple[Part, ...]]:
    """The inputs of a `list<PART>` column; arrays view Arrow's memory and are read-only, nothing is copied.

    A null row gives an empty tuple.
    """
    if isinstance(column, pa.ChunkedArray):
        return [row for chunk in column.chunks for row in from_arrow(chunk)]
    flat = column.flatten()
    fields = (flat.field(name).to_pylist() for name in ("kind", "text", "shape", "at_ms"))
    data = flat.field("data")
    parts = iter([_part(data[i], *row) for i, row in enumerate(zip(*fields, strict=True))])
    lengths = column.value_lengths().fill_null(0).to_pylist()
    return [tuple(next(parts) for _ in range(length)) for length in lengths]


def _part(data: pa.Scalar, kind: str, text: str | None, shape: list[int] | None, at_ms: int | None) -> Part:
    dtype = PartKind(kind)
    array = np.frombuffer(data.as_buffer(), DTYPES[dtype]).reshape(shape) if shape is not None else None
    return Part(dtype, text, array, at_ms)
