"""Resizing with vector instructions against Pillow's own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from operators.decode import resize
from operators.decode.image import fit_pixels
from operators.decode.resize import resized
from schemas.card import ImageInput

SIDES = st.integers(1, 300)
SIZES = st.tuples(SIDES, SIDES)
MODES = ("CMYK", "L", "RGB", "RGBA")
LEAST_DB = 48


def picture(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    """Blots of noise, as large as the picture is small."""
    coarse = np.random.default_rng(seed).integers(0, 256, (size[1] // 8 + 2, size[0] // 8 + 2, 4), np.uint8)
    return Image.fromarray(coarse, "RGBA").resize(size, Image.Resampling.BILINEAR).convert(mode)


def seen(image: Image.Image) -> np.ndarray:
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image, int)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(MODES), SIZES, SIZES, st.integers(0, 9))
@example("RGB", (4000, 3000), (384, 384), 0)
@example("RGB", (1, 1), (300, 1), 0)
def test_vector_instructions_give_pillow_s_levels(
    mode: str, size: tuple[int, int], wanted: tuple[int, int], seed: int
) -> None:
    assert resize.vectorised is not None
    image = picture(mode, size, seed)
    ours, theirs = resized(image, wanted), image.resize(wanted, Image.Resampling.BICUBIC)
    assert (ours.mode, ours.size) == (mode, wanted)
    square = max(((seen(ours) - seen(theirs)) ** 2).mean(), 1e-9)
    assert 10 * np.log10(255**2 / square) > LEAST_DB


def test_a_model_that_is_compared_with_its_reference_gets_pillow_s_own_levels() -> None:
    image = picture("RGB", (640, 480), 0)
    expected = np.asarray(image.resize((192, 144), Image.Resampling.BICUBIC))
    want = ImageInput(fit="contain", side=180, multiple=16)
    assert np.array_equal(fit_pixels(image, want), expected)
    assert not np.array_equal(np.asarray(resized(image, (192, 144))), expected), "else nothing was saved"


@pytest.mark.parametrize("mode", ["RGB", "I;16", "F", "LA"])
def test_pillow_does_what_they_cannot_and_all_where_there_is_no_wheel(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if mode == "RGB":
        monkeypatch.setattr(resize, "vectorised", None)
    image = Image.new("F", (40, 30), 7).convert("I;16") if mode == "I;16" else picture("RGB", (40, 30), 1)
    image = image if mode in ("RGB", "I;16") else image.convert("L").convert(mode)
    expected = image.resize((9, 7), Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(resized(image, (9, 7))), np.asarray(expected))
