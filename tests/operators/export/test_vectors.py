"""Exported vectors: nulls stay null, and int8 is as near as half a scale."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from operators.export.vectors import converted, quantised
from schemas.export import DType

WIDTH = 4
VECTORS = arrays(
    np.float32, st.tuples(st.integers(1, 6), st.just(WIDTH)), elements=st.floats(-1, 1, width=32)
)


def column(vectors: np.ndarray, nulls: list[int] | None = None) -> pa.FixedSizeListArray:
    mask = np.isin(np.arange(len(vectors)), nulls or [])
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), WIDTH, mask=pa.array(mask))


@given(vectors=VECTORS)
def test_int8_times_its_scale_is_the_vector_up_to_half_a_scale(vectors: np.ndarray) -> None:
    whole, scales = quantised(column(vectors), WIDTH)
    restored = np.array(whole.to_pylist(), np.float64) * np.array(scales.to_pylist())[:, None]
    half = np.abs(vectors).max(axis=1, keepdims=True) / 254
    assert (np.abs(restored - vectors) <= half * (1 + 1e-5) + 1e-35).all()


@given(vectors=VECTORS.filter(lambda v: bool((np.linalg.norm(v, axis=1) > 1e-3).all())))
def test_the_cosine_of_int8_is_that_of_the_restored_vectors(vectors: np.ndarray) -> None:
    whole, scales = quantised(column(vectors), WIDTH)
    values = np.array(whole.to_pylist(), np.float64)
    restored = values * np.array(scales.to_pylist())[:, None]

    def cosine(v: np.ndarray) -> float:
        return float(v[0] @ v[-1] / np.linalg.norm(v[0]) / np.linalg.norm(v[-1]))

    assert np.isclose(cosine(values), cosine(restored))


def test_nulls_and_slices_are_kept() -> None:
    vectors = np.eye(5, WIDTH, dtype=np.float32)
    part = column(vectors, nulls=[2]).slice(1, 3)
    whole, scales = quantised(part, WIDTH)
    assert whole.to_pylist() == [[0, 127, 0, 0], None, [0, 0, 0, 127]]
    assert scales.is_null().to_pylist() == [False, True, False]
    half = converted(part, WIDTH, DType.FLOAT16)
    assert half.type == pa.list_(pa.float16(), WIDTH)
    assert half.to_pylist() == [[0, 1, 0, 0], None, [0, 0, 0, 1]]
