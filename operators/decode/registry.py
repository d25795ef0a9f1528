"""Any asset to segments: what it is, whether the model takes it, and the decoder that reads it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from operators.decode.audio import decode_audio
from operators.decode.document import OpenReference, decode_document
from operators.decode.image import decode_image
from operators.decode.pdf import decode_pdf
from operators.decode.sniff import HEAD_BYTES, MediaType, sniff
from operators.decode.text import decode_text
from operators.decode.video import decode_video
from operators.model.contract import TextCounter
from operators.parts import Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode, described
from schemas.recipe import Recipe

DOCUMENT_BYTES = 128 << 20
"""A document's JSON is read whole; media that are larger belong beside it, under a `uri`."""


@dataclass(frozen=True, slots=True)
class _Asset:
    file: BinaryIO
    media: MediaType
    recipe: Recipe
    card: ModelCard
    counter: TextCounter
    open_ref: OpenReference


def _document(asset: _Asset) -> Iterator[Segment]:
    data = asset.file.read(DOCUMENT_BYTES + 1)
    if len(data) > DOCUMENT_BYTES:
        raise AssetError(ErrorCode.LIMIT, f"a document of more than {DOCUMENT_BYTES} bytes of JSON")
    return decode_document(data, asset.recipe, asset.card, asset.counter, asset.open_ref)


_DECODERS: Mapping[Modality, Callable[[_Asset], Iterator[Segment]]] = {
    Modality.TEXT: lambda a: decode_text(a.file, a.recipe, a.card, a.counter, a.media),
    Modality.IMAGE: lambda a: decode_image(a.file, a.recipe, a.card),
    Modality.AUDIO: lambda a: decode_audio(a.file, a.recipe, a.card),
    Modality.VIDEO: lambda a: decode_video(a.file, a.recipe, a.card),
    Modality.PAGE: lambda a: decode_pdf(a.file, a.recipe, a.card, a.counter),
    Modality.DOCUMENT: _document,
}

_ENOUGH: Mapping[Modality, tuple[Modality, ...]] = {
    Modality.PAGE: (Modality.PAGE, Modality.TEXT),
    Modality.DOCUMENT: tuple(Modality),
}
"""A model of text reads a page's text; what it takes of a document depends on the parts."""


def decode(
    file: BinaryIO,
    name: str,
    recipe: Recipe,
    card: ModelCard,
    counter: TextCounter,
    open_ref: OpenReference,
) -> tuple[MediaType, Iterator[Segment]]:
    """What a seekable file is, and its segments, decoded as they are asked for.

    `name` is its URI or file name; `open_ref` opens what an interleaved document refers to.

    Raises:
        AssetError: EMPTY without bytes, UNSUPPORTED; and from the iterator, whatever goes wrong: MODALITY
            when the model does not take it, EMPTY without a segment, OUT_OF_MEMORY, STORAGE when
            reading fails, INTERNAL for a decoder's own fault, and what the decoders raise.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    if not head:
        raise AssetError(ErrorCode.EMPTY, "the file has no bytes")
    media = sniff(head, name)
    return media, _segments(_Asset(file, media, recipe, card, counter, open_ref))


def _segments(asset: _Asset) -> Iterator[Segment]:
    modality, card = asset.media.modality, asset.card
    if not any(map(card.accepts, _ENOUGH.get(modality, (modality,)))):
        raise AssetError(ErrorCode.MODALITY, f"{asset.media.mime}: {card.model_id} takes no {modality}")
    asset.file.seek(0, io.SEEK_SET)
    empty = True
    try:
        for segment in _DECODERS[modality](asset):
            empty = False
            yield segment
    except AssetError:
        raise
    except MemoryError as error:
        raise AssetError(
            ErrorCode.OUT_OF_MEMORY, f"{asset.media.mime}: out of memory while decoding"
        ) from error
    except Exception as error:
        failed = isinstance(error, OSError) and error.errno is not None
        detail = described(error)
        raise AssetError(ErrorCode.STORAGE if failed else ErrorCode.INTERNAL, detail) from error
    if empty:
        raise AssetError(ErrorCode.EMPTY, f"{asset.media.mime} without anything to embed")
