"""SVG drawings, rendered at the size the model sees by resvg: no script, no network, no file of the host.

resvg itself opens files that a drawing names, so the drawing is parsed and written anew without entities and
without references to anything but itself and small rasters that it carries.
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
from dataclasses import dataclass
from typing import BinaryIO
from xml.etree import ElementTree

from PIL import Image, UnidentifiedImageError

from schemas.errors import AssetError, ErrorCode

MOST_BYTES = 32 << 20
"""Of a drawing's XML, which is held whole."""
MOST_ELEMENTS = 200_000
_UNITS = {"": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96.0}
_LENGTH = re.compile(r"\s*\+?(\d*\.?\d+(?:[eE][+-]?\d+)?)\s*(px|pt|pc|mm|cm|in|)\s*")
_DEFAULT_SIZE = (300.0, 150.0)
"""What browsers give a drawing that declares neither a size nor a view box."""
_RASTER = re.compile(r"data:image/(?:png|jpe?g|gif|webp);base64,")
_WAY_OUT = "SVG needs a renderer; install embedlake[images]"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A parsed drawing without references to anything outside; `size` is its own width and height in pixels."""

    root: ElementTree.Element
    size: tuple[float, float]

    @classmethod
    def read(cls, file: BinaryIO, max_pixels: int) -> Drawing:
        """Parse a drawing; rasters in it may have `max_pixels` together.

        Raises:
            AssetError: CORRUPT for XML that is not well-formed or not SVG, LIMIT for more bytes, elements, entity
                expansion or pixels than are taken.
        """
        data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise AssetError(ErrorCode.LIMIT, f"an SVG of more than {MOST_BYTES} bytes")
        try:
            # expat opens no external entity and bounds the expansion of internal ones.
            root = ElementTree.fromstring(data)  # noqa: S314
        except (ElementTree.ParseError, ValueError, LookupError) as error:
            code = ErrorCode.LIMIT if "amplification" in str(error) else ErrorCode.CORRUPT
            raise AssetError(code, f"SVG: {error}") from error
        if _local(root.tag) != "svg":
            raise AssetError(ErrorCode.CORRUPT, f"SVG: the root is <{_local(root.tag)[:40]}>")
        _disarm(root, max_pixels)
        return cls(root, _natural_size(root))

    def render(self, width: int, height: int) -> Image.Image:
        """RGBA at exactly that size; the drawing is stretched where the aspect ratios differ.

        Raises:
            AssetError: UNSUPPORTED without the renderer, CORRUPT for what it refuses, LIMIT for deep nesting.
        """
        try:
            import resvg_py
        except ImportError as error:
            raise AssetError(ErrorCode.UNSUPPORTED, _WAY_OUT) from error
        self._stretch(width, height)
        lettered = any(_local(element.tag) == "text" for element in self.root.iter())
        try:
            markup = ElementTree.tostring(self.root, encoding="unicode")
            png = resvg_py.svg_to_bytes(svg_string=markup, skip_system_fonts=not lettered)
        except RecursionError as error:
            raise AssetError(ErrorCode.LIMIT, "SVG: elements nested too deeply") from error
        except ValueError as error:
            code = ErrorCode.LIMIT if "limit reached" in str(error) else ErrorCode.CORRUPT
            raise AssetError(code, f"resvg: {' '.join(str(error).split())}") from error
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            image.load()
            return image

    def _stretch(self, width: int, height: int) -> None:
        box = _numbers(self.root.get("viewBox"))
        if self.root.get("preserveAspectRatio", "").strip() != "none":
            box = _letterboxed(box, self.size)
        self.root.set("viewBox", " ".join(map(repr, box or (0.0, 0.0, *self.size))))
        self.root.set("preserveAspectRatio", "none")
        self.root.set("width", str(width))
        self.root.set("height", str(height))


def _local(tag: object) -> str:
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def _disarm(root: ElementTree.Element, max_pixels: int) -> None:
    """Drop every reference that leaves the drawing.

    Raises:
        AssetError: LIMIT.
    """
    pixels = 0
    for count, element in enumerate(root.iter(), 1):
        if count > MOST_ELEMENTS:
            raise AssetError(ErrorCode.LIMIT, f"an SVG of more than {MOST_ELEMENTS} elements")
        for name in [name for name in element.attrib if _local(name) == "href"]:
            target = element.attrib[name].strip()
            size = _raster_pixels(target)
            pixels += size
            if not (target.startswith("#") or size):
                del element.attrib[name]
            if pixels > max_pixels:
                raise AssetError(
                    ErrorCode.LIMIT, f"rasters of {pixels} pixels, the recipe allows {max_pixels}"
                )


def _raster_pixels(target: str) -> int:
    """Pixels of a raster that the drawing carries; 0 for anything else."""
    head = _RASTER.match(target)
    if head is None:
        return 0
    try:
        data = base64.b64decode("".join(target[head.end() :].split()), validate=True)
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG", "GIF", "WEBP"]) as image:
            return image.width * image.height
    except (binascii.Error, UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return 0


def _numbers(text: str | None) -> tuple[float, float, float, float] | None:
    """A view box: x, y, width, height; None where there is none that shows something."""
    try:
        x, y, width, height = map(float, re.split(r"[\s,]+", (text or "").strip()))
    except ValueError:
        return None
    valid = all(map(math.isfinite, (x, y, width, height))) and width > 0 and height > 0
    return (x, y, width, height) if valid else None


def _length(text: str | None) -> float | None:
    match = _LENGTH.fullmatch(text or "")
    value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    return value if 0 < value < math.inf else None


def _natural_size(root: ElementTree.Element) -> tuple[float, float]:
    width, height = _length(root.get("width")), _length(root.get("height"))
    box = _numbers(root.get("viewBox"))
    if box is None:
        return width or _DEFAULT_SIZE[0], height or _DEFAULT_SIZE[1]
    if width is None and height is None:
        return box[2], box[3]
    return width or (height or 0) * box[2] / box[3], height or (width or 0) * box[3] / box[2]


def _letterboxed(
    box: tuple[float, float, float, float] | None, size: tuple[float, float]
) -> tuple[float, float, float, float] | None:
    """The view box grown about its centre to the aspect ratio of the drawing's own size."""
    if box is None:
        return None
    x, y, width, height = box
    grown = max(width, height * size[0] / size[1]), max(height, width * size[1] / size[0])
    return x - (grown[0] - width) / 2, y - (grown[1] - height) / 2, *grown
