"""Kept media come back as they were: sound and text to the bit, pictures nearly."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.parts import Part, PartKind
from operators.prepared.codec import pack, unpack
from schemas.card import ImageInput

TEXT = st.text(max_size=20).map(lambda text: Part(PartKind.TEXT, text))
PICTURE = st.tuples(st.sampled_from([PartKind.IMAGE, PartKind.FRAME]), st.integers(0, 255)).map(
    lambda pair: Part(pair[0], data=np.full((24, 40, 3), pair[1], np.uint8), at_ms=pair[1] * 10)
)
SOUND = st.tuples(st.integers(0, 40_000), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 5_000))).map(
    lambda of: Part(
        PartKind.AUDIO,
        data=np.random.default_rng(of[1]).integers(-32768, 32767, of[0]).astype(np.int16),
        at_ms=of[2],
    )
)


@settings(max_examples=60)
@given(st.lists(st.one_of(TEXT, PICTURE, SOUND), max_size=12))
def test_parts_of_any_mixture_come_back_in_order(parts: list[Part]) -> None:
    media, layout = pack(parts)
    found = unpack(media, layout, {PartKind.IMAGE: None, PartKind.FRAME: None})
    assert [(p.kind, p.text, p.at_ms) for p in found] == [(p.kind, p.text, p.at_ms) for p in parts]
    for one, other in zip(parts, found, strict=True):
        if one.kind is PartKind.AUDIO:
            np.testing.assert_array_equal(other.array, one.array)
        elif one.data is not None:
            assert other.array.shape == one.array.shape
            assert np.abs(other.array.astype(int) - one.array).max() <= 3


def test_a_smaller_picture_is_made_of_a_larger_one_that_was_kept() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    media, layout = pack([Part(PartKind.IMAGE, data=pixels)])
    (found,) = unpack(media, layout, {PartKind.IMAGE: ImageInput(side=16)})
    assert found.array.shape == (16, 16, 3)
    assert found.array[:, :6].max() < 16
    assert found.array[:, 10:].min() > 240
