"""A picture of one place in an asset, for people: an image, a page of a PDF, a video's frame at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from operators.decode.asset import OpenReference
from operators.decode.document import AudioPart, ImagePart, PdfPart, TextPart, parse_document
from operators.decode.image import image_part
from operators.decode.pdf import pdf_page
from operators.decode.sniff import MediaType
from operators.decode.video import frame_at
from operators.model.contract import TextCounter
from operators.parts import Part, Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

ENTRY = "operators.decode.preview:decode"
"""What decodes in a child, see `operators.isolation.decoders`."""
_REQUEST_BYTES = 1 << 16


def decode(
    file: BinaryIO, name: str, recipe: Recipe, card: ModelCard, counter: TextCounter, open_ref: OpenReference
) -> tuple[MediaType, Iterator[Segment]]:
    """One segment with one picture, uint8 `[height, width, 3]` RGB at the card's size.

    `file` is an interleaved document of one medium, that `open_ref` opens; a video's `start_ms` is the time of its
    frame. As `operators.decode.registry.decode` otherwise.

    Raises:
        AssetError: from the iterator, what the medium's decoder raises; UNSUPPORTED for what shows nothing.
    """
    return MediaType("image/x-preview", Modality.IMAGE), _picture(file, recipe, card, counter, open_ref)


def _picture(
    file: BinaryIO, recipe: Recipe, card: ModelCard, counter: TextCounter, open_ref: OpenReference
) -> Iterator[Segment]:
    (wanted,) = parse_document(file.read(_REQUEST_BYTES)).parts
    if isinstance(wanted, TextPart | AudioPart) or wanted.uri is None:
        raise AssetError(ErrorCode.UNSUPPORTED, f"{wanted.type} shows nothing")
    with open_ref(wanted.uri) as medium:
        part: Part
        if isinstance(wanted, ImagePart):
            part = image_part(medium, recipe, card)
        elif isinstance(wanted, PdfPart):
            part = pdf_page(medium, wanted.page, recipe, card, counter).parts[0]
        else:
            part = frame_at(medium, wanted.start_ms, recipe, card)
    yield Segment(Modality.IMAGE, (part,))
