"""Pictures: what Pillow and its HEIF plugin read, and drawings; upright, RGB over white, at the model's resolution."""

from __future__ import annotations

import math
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from operators.decode.checks import check_input
from operators.decode.resize import resized
from operators.decode.sniff import is_drawing, is_heif
from operators.decode.svg import Drawing
from operators.decode.windows import Plan, Shown, decode_frames
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import ImageInput, Modality, ModelCard
from schemas.errors import AssetError, ErrorCode, from_storage
from schemas.recipe import ImageRecipe, Recipe

Pixels = npt.NDArray[np.uint8]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "JPEG2000", "ICO", "PPM", "QOI", "TGA")
"""What is read; Pillow's EPS and its like would start other programs. HEIC and SVG come with an extra."""

_ANIMATED = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
_DAMAGE = (
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _SUBFILE, _REDUCED = 0x0112, 254, 1
_STILL_MS = 100
"""What browsers give an animation's frame that declares no duration."""
_PILLOW_LIMIT = threading.Lock()
_HEAD_BYTES = 4096


def decode_image(file: BinaryIO, recipe: Recipe, card: ModelCard) -> Iterator[Segment]:
    """One segment: an image; for a TIFF one a page; for an animation video windows where the card takes them.

    Raises:
        AssetError: CORRUPT, LIMIT (pixels, hours), EMPTY, UNSUPPORTED, MODALITY.
    """
    check_input(file, card, Modality.IMAGE)
    if is_drawing(_head(file)):
        yield Segment(Modality.IMAGE, (_drawn(file, recipe.image, card, PartKind.IMAGE),))
        return
    with _reported():
        image = _open(file, recipe.image)
        if image.format == "TIFF":
            yield from _pages(image, recipe.image, card)
        elif image.format in _ANIMATED and getattr(image, "n_frames", 1) > 1 and card.accepts(Modality.VIDEO):
            plan = Plan.of(recipe, card, sound=False)
            yield from decode_frames(_animation(image, plan.input), iter(()), plan)
        else:
            part = _part(image, recipe.image, _want(card, PartKind.IMAGE), PartKind.IMAGE)
            yield Segment(Modality.IMAGE, (part,))


def image_part(file: BinaryIO, recipe: Recipe, card: ModelCard, kind: PartKind = PartKind.IMAGE) -> Part:
    """One picture (the first of several) as a part: uint8 `[height, width, 3]` RGB at the card's resolution.

    Raises:
        AssetError: as `decode_image`.
    """
    check_input(file, card, Modality.VIDEO if kind is PartKind.FRAME else Modality.IMAGE)
    if is_drawing(_head(file)):
        return _drawn(file, recipe.image, card, kind)
    with _reported():
        return _part(_open(file, recipe.image), recipe.image, _want(card, kind), kind)


def target_size(width: int, height: int, want: ImageInput) -> tuple[int, int]:
    """Width and height that the model wants of a picture; for `contain` the largest within its area."""
    if want.fit == "square":
        return want.side, want.side
    scale = want.side / math.sqrt(width * height)
    most = want.side**2 // want.multiple**2
    columns, rows = (min(most, max(1, int(side * scale) // want.multiple)) for side in (width, height))
    return columns * want.multiple, rows * want.multiple


def fit_pixels(image: Image.Image, want: ImageInput) -> Pixels:
    """A picture of any Pillow mode, turned upright, as uint8 RGB `[height, width, 3]` at the model's size.

    Transparency goes over white; 16-bit grey keeps its high byte; int32 and float rasters, which have no
    white point, are stretched between their extremes.

    Raises:
        AssetError: UNSUPPORTED colours.
    """
    image.load()
    turn = _UPRIGHT.get(_orientation(image))
    size = target_size(*image.size, want)
    rgb = _rgb(resized(_resizable(image), size, want.exact))
    return np.asarray(rgb.transpose(turn) if turn is not None else rgb)


def _want(card: ModelCard, kind: PartKind) -> ImageInput:
    want = card.frame if kind is PartKind.FRAME else card.image
    if want is None:
        raise AssetError(ErrorCode.MODALITY, f"{card.model_id} names no {kind} size on its card")
    return want


@contextmanager
def _reported() -> Iterator[None]:
    """Pillow's many exceptions as AssetErrors; errors of the storage below keep their own type."""
    try:
        yield
    except _BOMB as error:
        raise AssetError(ErrorCode.LIMIT, f"Pillow: {error}") from error
    except UnidentifiedImageError as error:
        raise AssetError(ErrorCode.CORRUPT, "Pillow: not a picture of a known format") from error
    except OSError as error:
        if from_storage(error):
            raise
        raise AssetError(ErrorCode.CORRUPT, f"Pillow: {' '.join(str(error).split())}") from error
    except _DAMAGE as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise AssetError(ErrorCode.CORRUPT, f"Pillow: {said}") from error


@contextmanager
def _recipe_limit(recipe: ImageRecipe) -> Iterator[None]:
    """Pillow's own limit is a global: set to the recipe's for one header, and its warning made an error."""
    with _PILLOW_LIMIT, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, recipe.max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _head(file: BinaryIO) -> bytes:
    head = file.read(_HEAD_BYTES)
    file.seek(0)
    return head


def _drawn(file: BinaryIO, recipe: ImageRecipe, card: ModelCard, kind: PartKind) -> Part:
    want = _want(card, kind)
    drawing = Drawing.read(file, recipe.max_pixels)
    width, height = (max(1, round(side * 10_000 / max(drawing.size))) for side in drawing.size)
    return _part(drawing.render(*target_size(width, height, want)), recipe, want, kind)


def _open(file: BinaryIO, recipe: ImageRecipe) -> ImageFile.ImageFile:
    formats = _with_heif() if is_heif(_head(file)) else FORMATS
    with _recipe_limit(recipe):
        image = Image.open(file, formats=formats)
    _check_size(image, recipe)
    return image


def _with_heif() -> tuple[str, ...]:
    """The formats with HEIF, whose plugin is an extra: the quicker of two that decode alike, where it is installed.

    Raises:
        AssetError: UNSUPPORTED without the plugin.
    """
    # The wheel of the first has an encoder under the GPL as well: the extra is the second.
    for name in ("pillow_heif", "pi_heif"):
        if "HEIF" not in Image.OPEN:
            with suppress(ImportError):
                import_module(name).register_heif_opener(decode_threads=1, thumbnails=False)
    if "HEIF" not in Image.OPEN:
        raise AssetError(ErrorCode.UNSUPPORTED, "HEIC needs a plugin; install embedlake[images]")
    return (*FORMATS, "HEIF")


def _check_size(image: Image.Image, recipe: ImageRecipe) -> None:
    if image.width * image.height > recipe.max_pixels:
        detail = f"{image.width} x {image.height} pixels, the recipe allows {recipe.max_pixels}"
        raise AssetError(ErrorCode.LIMIT, detail)


def _part(image: Image.Image, recipe: ImageRecipe, want: ImageInput, kind: PartKind) -> Part:
    if recipe.draft and isinstance(image, ImageFile.ImageFile) and image.format in ("JPEG", "MPO"):
        image.draft(None, target_size(*image.size, want))
    return Part(kind, data=fit_pixels(image, want), at_ms=0 if kind is PartKind.FRAME else None)


def _pages(image: Image.Image, recipe: ImageRecipe, card: ModelCard) -> Iterator[Segment]:
    want = _want(card, PartKind.IMAGE)
    count: int = getattr(image, "n_frames", 1)
    for index in range(count):
        with _recipe_limit(recipe):
            image.seek(index)
        tags: Any = getattr(image, "tag_v2", {})
        if index and tags.get(_SUBFILE, 0) & _REDUCED:
            continue
        _check_size(image, recipe)
        part = _part(image, recipe, want, PartKind.IMAGE)
        yield Segment(Modality.IMAGE, (part,), Locator(page=index + 1 if count > 1 else None))


def _animation(image: Image.Image, want: ImageInput) -> Iterator[Shown]:
    start_us = 0
    for index in range(getattr(image, "n_frames", 1)):
        image.seek(index)
        image.load()
        length_ms = image.info.get("duration") or _STILL_MS
        end_us = start_us + round(length_ms * 1000)
        yield Shown(start_us, end_us, partial(fit_pixels, image.copy(), want))
        start_us = end_us


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except (OSError, *_DAMAGE):
        # A broken EXIF block says nothing about the picture itself.
        return 1
    return value if isinstance(value, int) else 1


def _resizable(image: Image.Image) -> Image.Image:
    if image.mode == "1":
        return image.convert("L")
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    if image.mode in ("L", "RGB") and image.has_transparency_data:
        return image.convert("RGBA")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.mode in ("I", "F"):
        image = Image.fromarray(_stretched(np.asarray(image)))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    try:
        # Of a picture that is RGB already a conversion is a copy.
        return image if image.mode == "RGB" else image.convert("RGB")
    except ValueError as error:
        raise AssetError(ErrorCode.UNSUPPORTED, f"Pillow: no way from {image.mode} to RGB") from error


def _stretched(raster: npt.NDArray[Any]) -> Pixels:
    values = np.nan_to_num(raster.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    return ((values - low) * (255.0 / ((high - low) or 1.0))).round().astype(np.uint8)
