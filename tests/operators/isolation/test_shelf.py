from __future__ import annotations

import os
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.isolation.shelf import NONE, SHELF_BYTES, Shelf, shared

pytestmark = pytest.mark.skipif(shared() == NONE, reason="this system has no sealed memory")


def sides() -> tuple[Shelf, Shelf]:
    """One shelf as its writer and as its reader have it."""
    fd = shared()
    try:
        return Shelf.pair(fd)[0], Shelf.pair(fd)[0]
    finally:
        os.close(fd)


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=200), st.booleans()), max_size=30))
def test_what_is_put_is_taken_in_order_whoever_is_ahead(steps: list[tuple[bytes, bool]]) -> None:
    writer, reader = sides()
    waiting: list[tuple[int, bytes]] = []
    for data, takes in steps:
        at = writer.put([data[:1], data[1:]])
        assert at is not None
        waiting.append((at, data))
        while takes and waiting:
            place, wanted = waiting.pop(0)
            assert reader.take(place, len(wanted), bytes) == wanted
    assert all(reader.take(place, len(wanted), bytes) == wanted for place, wanted in waiting)


def test_a_full_shelf_has_the_room_of_what_is_taken() -> None:
    writer, reader = sides()
    half = SHELF_BYTES // 2
    first, second = writer.put([bytes(half)]), writer.put([b"a" * half])
    assert first is not None
    assert second is not None
    assert writer.put([b"b"]) is None
    reader.take(first, half, bytes)
    assert writer.put([b"b" * half]) is None, "nothing reaches what is not taken yet"
    third = writer.put([b"b" * (half - 1)])
    assert third == first
    assert reader.take(second, half, bytes) == b"a" * half
    assert reader.take(third, half - 1, bytearray) == b"b" * (half - 1)
    assert writer.put([bytes(SHELF_BYTES)]) == first, "an empty one starts anew"


@given(st.lists(st.tuples(st.integers(1, SHELF_BYTES // 2), st.integers(0, 4)), min_size=5, max_size=40))
def test_no_place_is_given_twice_at_a_time(steps: list[tuple[int, int]]) -> None:
    writer, reader = sides()
    waiting: deque[tuple[int, int]] = deque()
    for size, taken in steps:
        if (found := writer.room(size)) is not None:
            at = found[0]
            assert all(at + size <= other or other + length <= at for other, length in waiting)
            waiting.append((at, size))
        for _ in range(min(taken, len(waiting))):
            reader.take(*waiting.popleft(), lambda place: bytes(place[:0]))


@pytest.mark.parametrize(("at", "size"), [(0, 8), (1, 1), (4096, SHELF_BYTES + 1), (SHELF_BYTES, 1 << 40)])
def test_no_place_outside_the_shelf_is_read(at: int, size: int) -> None:
    with pytest.raises(ValueError, match="on no shelf"):
        sides()[1].take(at, size, bytes)


def test_shared_memory_cannot_be_cut_short() -> None:
    fd = shared()
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_without_shared_memory_nothing_fits() -> None:
    inbox, outbox = Shelf.pair(NONE)
    assert inbox.room(1) is None
    assert outbox.put([b"a"]) is None
