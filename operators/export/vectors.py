"""Rows of a space as an export has them: some widths, in the type that was asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.lake.columns import matrix
from schemas.export import VALUE_TYPES, DType, ExportSpec, scale_column
from schemas.space import embedding_column

_MOST = 127


def exported(rows: pa.RecordBatch, schema: pa.Schema, spec: ExportSpec) -> pa.RecordBatch:
    """Rows of a space's table with the columns of `schema`, as `schemas.export.export_schema` made it of `spec`."""
    made: dict[str, pa.Array] = {}
    for width in spec.widths:
        name = embedding_column(width)
        if spec.dtype is DType.INT8:
            made[name], made[scale_column(width)] = quantised(rows.column(name), width)
        else:
            made[name] = converted(rows.column(name), width, spec.dtype)
    columns = [made[name] if name in made else rows.column(name) for name in schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def converted(vectors: pa.FixedSizeListArray, width: int, dtype: DType) -> pa.FixedSizeListArray:
    """A vector column `[rows, width]` in another float type; the column itself where it has that type."""
    value = VALUE_TYPES[dtype]
    if vectors.type.value_type == value:
        return vectors
    return _column(matrix(vectors, width).astype(value.to_pandas_dtype()), value, vectors)


def quantised(vectors: pa.FixedSizeListArray, width: int) -> tuple[pa.FixedSizeListArray, pa.Array]:
    """A vector column `[rows, width]` as int8, and the float32 scale `[rows]` of each vector."""
    values = matrix(vectors, width)
    scales = np.abs(values).max(axis=1) / np.float32(_MOST)
    whole = np.rint(values / np.maximum(scales, np.finfo(np.float32).tiny)[:, None]).astype(np.int8)
    kept = pa.array(scales, pa.float32(), mask=_nulls(vectors))
    return _column(whole, pa.int8(), vectors), kept


def _column(
    values: npt.NDArray[np.generic], kind: pa.DataType, like: pa.FixedSizeListArray
) -> pa.FixedSizeListArray:
    flat = pa.array(values.reshape(-1), kind)
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1], mask=pa.array(_nulls(like)))


def _nulls(vectors: pa.Array) -> npt.NDArray[np.bool_]:
    return np.asarray(~vectors.is_valid().to_numpy(zero_copy_only=False))
