"""Picture files to the model's pixels, as the pipeline's own decoder makes them, with optional augmentation."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance

from operators.decode.image import fit_pixels
from schemas.card import ImageInput

_SVG_SIDE = 256


def open_picture(path: Path) -> Image.Image:
    """The picture as RGBA; SVG is rendered at 256 pixels' width."""
    if path.suffix == ".svg":
        import resvg_py

        return Image.open(
            io.BytesIO(resvg_py.svg_to_bytes(svg_path=str(path), width=_SVG_SIDE, dpi=96))
        ).convert("RGBA")
    with _posters_allowed(), Image.open(path) as image:
        image.thumbnail((2 * _SVG_SIDE, 2 * _SVG_SIDE))
        return image.convert("RGBA")


@contextmanager
def _posters_allowed() -> Iterator[None]:
    """Pillow's pixel limit off: the packages are pinned, and their largest picture takes 1 GB."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def pixels(image: Image.Image, side: int) -> npt.NDArray[np.uint8]:
    """uint8 `[side, side, 3]`, over white."""
    return fit_pixels(image, ImageInput(side=side))


def augmented(image: Image.Image, rng: random.Random) -> Image.Image:
    """Another view: mirrored, turned, cropped or padded, recoloured, over any background."""
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.5:
        image = image.rotate(rng.uniform(-20, 20), resample=Image.Resampling.BILINEAR, expand=True)
    width, height = image.size
    scale = rng.uniform(0.75, 1.4)
    box_w, box_h = scale * width, scale * height * rng.uniform(0.85, 1.15)
    left, top = rng.uniform(0, width - box_w), rng.uniform(0, height - box_h)
    image = image.crop((int(left), int(top), int(left + box_w), int(top + box_h)))
    if rng.random() < 0.5:
        colour = tuple(rng.randrange(256) for _ in range(3)) if rng.random() < 0.5 else (255, 255, 255)
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*colour, 255)), image)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(0.7, 1.3))
    return image.convert("L").convert("RGBA") if rng.random() < 0.05 else image
