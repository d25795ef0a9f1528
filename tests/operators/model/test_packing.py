from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.model.batching import micro_batches
from operators.model.packed_attention import Group, by_groups
from operators.model.packing import Packed, packs
from operators.model.upload import Upload

LENGTHS = st.lists(st.integers(1, 9_000), min_size=1, max_size=80)
BUDGETS = st.integers(1, 20_000)


@given(LENGTHS, BUDGETS)
def test_every_row_is_in_one_pack_and_only_a_row_over_the_budget_exceeds_it(
    lengths: list[int], budget: int
) -> None:
    found = packs(lengths, budget)
    assert sorted(row for pack in found for row in pack) == list(range(len(lengths)))
    for pack in found:
        assert sum(lengths[row] for row in pack) <= budget or len(pack) == 1


@given(LENGTHS, BUDGETS)
def test_a_pack_ends_only_where_the_next_row_does_not_fit(lengths: list[int], budget: int) -> None:
    for pack, after in pairwise(packs(lengths, budget)):
        assert sum(lengths[row] for row in pack) + lengths[after[0]] > budget


def test_a_budget_below_one_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        packs([1], 0)


@given(LENGTHS, BUDGETS, st.floats(0, 0.9))
def test_a_padded_batch_wastes_at_most_its_share(lengths: list[int], budget: int, waste: float) -> None:
    found = micro_batches(lengths, budget, waste=waste)
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    for batch in found:
        sizes = [lengths[row] for row in batch]
        assert max(sizes) * len(batch) <= budget or len(batch) == 1
        assert min(sizes) >= (1 - waste) * max(sizes)


@given(LENGTHS)
def test_positions_start_anew_with_each_sequence(lengths: list[int]) -> None:
    packed = Packed(tuple(lengths))
    assert packed.offsets().tolist() == [0, *np.cumsum(lengths)]
    assert packed.positions().tolist() == [place for length in lengths for place in range(length)]


@given(LENGTHS, st.integers(0, 30), st.floats(0, 0.9))
def test_buckets_cover_the_pack_and_end_only_where_lengths_differ_too_much(
    lengths: list[int], spread: int, share: float
) -> None:
    found = Packed(tuple(lengths)).buckets(spread, share)
    assert [length for bucket in found for length in bucket.lengths] == lengths
    assert found[0].start == 0
    assert [bucket.end for bucket in found[:-1]] == [later.start for later in found[1:]]

    def differ(some: tuple[int, ...]) -> bool:
        return max(some) - min(some) > max(spread, share * max(some))

    assert not any(differ(bucket.lengths) for bucket in found)
    assert all(differ((*bucket.lengths, after.lengths[0])) for bucket, after in pairwise(found))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=20))
def test_a_bucket_shows_each_token_once_and_repeats_a_sequences_last_one_behind_it(
    lengths: list[int],
) -> None:
    bucket = Packed((900, *lengths)).buckets(100)[1]
    places, own = bucket.places(), bucket.own()
    assert places[own].tolist() == list(range(900, 900 + sum(lengths)))
    assert (places == np.where(own, places, places.max(1, initial=0, where=own)[:, None])).all()


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.none() | st.integers(1, 12),
    st.sampled_from([(4, 2), (2, 1), (3, 3)]),
    st.sampled_from([0, 3, 40]),
)
def test_packed_attention_is_attention_under_the_mask_of_the_whole_pack(
    lengths: list[int], reach: int | None, heads: tuple[int, int], spread: int
) -> None:
    packed = Packed(tuple(lengths))
    draws = torch.Generator().manual_seed(len(lengths))
    query, key, value = (
        torch.randn(packed.tokens, count, 8, generator=draws) for count in (heads[0], heads[1], heads[1])
    )
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    place = torch.from_numpy(packed.positions())
    mask = owner[:, None] == owner
    if reach is not None:
        mask &= (place[:, None] - place).abs() <= reach
    scores = torch.einsum("qhd,khd->hqk", query, key.repeat_interleave(heads[0] // heads[1], 1)) * 0.5
    weights = scores.masked_fill(~mask, -torch.inf).softmax(-1)
    want = torch.einsum("hqk,khd->qhd", weights, value.repeat_interleave(heads[0] // heads[1], 1))
    groups = [Group(bucket, Upload(query.device)) for bucket in packed.buckets(spread)]
    found = by_groups(query, key, value, groups, 0.5, reach)
    torch.testing.assert_close(found, want, atol=1e-5, rtol=1e-4)
