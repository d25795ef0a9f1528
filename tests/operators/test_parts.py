"""Parts as an Arrow column, and back."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from operators.part_columns import from_arrow, to_arrow
from operators.parts import DTYPES, Part, PartKind
from schemas.tables import PART

_TEXTS = st.builds(Part, st.just(PartKind.TEXT), text=st.text(max_size=5))
_MEDIA = st.sampled_from([kind for kind in PartKind if kind is not PartKind.TEXT]).flatmap(
    lambda kind: st.builds(
        Part,
        st.just(kind),
        data=arrays.arrays(DTYPES[kind], arrays.array_shapes(max_dims=3, min_side=0, max_side=4)),
        at_ms=st.none() | st.integers(0, 1 << 40),
    )
)
_INPUTS = st.lists(st.lists(_TEXTS | _MEDIA, max_size=4).map(tuple), max_size=4)


@given(_INPUTS)
def test_parts_come_back_as_they_were(inputs: list[tuple[Part, ...]]) -> None:
    column = to_arrow(inputs)
    assert column.type == pa.list_(PART)
    column.validate(full=True)
    found = from_arrow(column)
    assert [[(p.kind, p.text, p.at_ms) for p in row] for row in found] == [
        [(p.kind, p.text, p.at_ms) for p in row] for row in inputs
    ]
    for one, other in zip(sum(found, ()), sum(inputs, ()), strict=True):
        assert (one.data is None) == (other.data is None)
        if other.data is not None:
            assert one.array.dtype == DTYPES[other.kind]
            assert np.array_equal(one.array, other.data)


def test_a_view_of_every_other_row_is_laid_out_anew() -> None:
    pixels = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3)[::2]
    ((part,),) = from_arrow(to_arrow([(Part(PartKind.IMAGE, data=pixels),)]))
    assert np.array_equal(part.array, pixels)
