"""Sets of row ids behave as sets, and ids are kept in their order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.export.row_ids import RowIdSet, packed, unpacked

IDS = st.lists(st.integers(0, 5000), max_size=50).map(lambda found: np.array(found, np.uint64))


@given(added=st.lists(IDS, max_size=4), asked=IDS)
def test_a_set_has_what_was_added_and_nothing_else(added: list[np.ndarray], asked: np.ndarray) -> None:
    found, known = RowIdSet(), set()
    for ids in added:
        found.add(ids)
        known |= set(ids.tolist())
    assert found.has(asked).tolist() == [one in known for one in asked.tolist()]


@given(ids=st.lists(st.integers(0, 2**62), max_size=50).map(lambda found: np.array(found, np.uint64)))
def test_packed_ids_come_back_in_their_order(ids: np.ndarray) -> None:
    assert unpacked(packed(ids)).tolist() == ids.tolist()


def test_ids_of_a_whole_fragment_take_next_to_nothing() -> None:
    assert len(packed(np.arange(10**6, 2 * 10**6, dtype=np.uint64))) < 100_000
