"""Any asset to segments: what it is, whether the model takes it, and the decoder that reads it.

Decoders are imported when the first asset of theirs comes: this module is light, for children that start often.
"""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from importlib import import_module
from typing import BinaryIO

from operators.decode import identify as kinds
from operators.decode import sniff as types
from operators.decode.asset import Asset, OpenReference
from operators.decode.identify import identify
from operators.decode.sniff import MediaType
from operators.model.contract import TextCounter
from operators.parts import Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode, described, from_storage
from schemas.recipe import Recipe

Decoder = Callable[[Asset], Iterator[Segment]]

DOCUMENT_BYTES = 128 << 20
"""A document's JSON is read whole; media that are larger belong beside it, under a `uri`."""


def _document(asset: Asset) -> Iterator[Segment]:
    from operators.decode.document import decode_document

    data = asset.read(DOCUMENT_BYTES)
    return decode_document(data, asset.recipe, asset.card, asset.counter, asset.open_ref)


def _image(asset: Asset) -> Iterator[Segment]:
    from operators.decode.image import decode_image

    return decode_image(asset.file, asset.recipe, asset.card)


def _audio(asset: Asset) -> Iterator[Segment]:
    from operators.decode.audio import decode_audio

    return decode_audio(asset.file, asset.recipe, asset.card)


def _video(asset: Asset) -> Iterator[Segment]:
    from operators.decode.video import decode_video

    return decode_video(asset.file, asset.recipe, asset.card)


def _pdf(asset: Asset) -> Iterator[Segment]:
    from operators.decode.pdf import decode_pdf

    return decode_pdf(asset.file, asset.recipe, asset.card, asset.counter)


def _of(function: str, extra: str | None = None) -> Decoder:
    """A decoder by `module:function` under `operators.decode`; `extra` is what installs its libraries."""
    module, _, name = function.partition(":")

    def decoder(asset: Asset) -> Iterator[Segment]:
        try:
            found: Decoder = getattr(import_module(f"operators.decode.{module}"), name)
        except ModuleNotFoundError as error:
            if extra is None:
                raise
            detail = (
                f"{asset.media.mime} is read with {error.name}, which is not installed: embedlake[{extra}]"
            )
            raise AssetError(ErrorCode.UNSUPPORTED, f"{detail}; install it and run again") from error
        return found(asset)

    return decoder


_BY_TYPE: Mapping[str, Decoder] = {
    types.MARKDOWN: _of("markdown:decode_markdown"),
    types.HTML: _of("html:decode_html"),
    types.CSV: _of("rows:decode_delimited"),
    types.TSV: _of("rows:decode_delimited"),
    types.JSON_LINES: _of("rows:decode_json_lines"),
    types.PARQUET: _of("columnar:decode_parquet"),
    types.ARROW_FILE: _of("columnar:decode_arrow"),
    types.ARROW_STREAM: _of("columnar:decode_arrow"),
    types.VTT: _of("subtitles:decode_subtitles"),
    types.SUBRIP: _of("subtitles:decode_subtitles"),
    types.NOTEBOOK: _of("notebook:decode_notebook"),
    types.MAIL: _of("mail:decode_mail"),
    types.MBOX: _of("mail:decode_mbox"),
    types.RTF: _of("office.rtf:decode_rtf", "office"),
    kinds.DOCX: _of("office.word:decode_docx", "office"),
    kinds.PPTX: _of("office.slides:decode_pptx", "office"),
    kinds.XLSX: _of("office.sheets:decode_xlsx", "office"),
    kinds.XLS: _of("office.sheets:decode_xls", "office"),
    kinds.EPUB: _of("office.epub:decode_epub", "office"),
    kinds.ODT: _of("office.opendocument:decode_opendocument", "office"),
    kinds.ODP: _of("office.opendocument:decode_opendocument", "office"),
    kinds.ODS: _of("office.opendocument:decode_opendocument", "office"),
    **dict.fromkeys(types.CODE, _of("code:decode_code")),
}
"""By MIME type; what it does not name goes by its modality."""

_BY_MODALITY: Mapping[Modality, Decoder] = {
    Modality.TEXT: _of("text:decode_text"),
    Modality.IMAGE: _image,
    Modality.AUDIO: _audio,
    Modality.VIDEO: _video,
    Modality.PAGE: _pdf,
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
        AssetError: EMPTY without bytes, UNSUPPORTED, and what is wrong with a zip or a compressed file; and from
            the iterator, whatever goes wrong: MODALITY when the model does not take it, EMPTY without a segment,
            OUT_OF_MEMORY, LIMIT for too large a temporary file, STORAGE when reading fails, INTERNAL for a
            decoder's own fault, and what the decoders raise.
    """
    with _explained("the file"):
        media, content, name = identify(file, name, recipe.unpack)
    found = segments(Asset(content, name, media, recipe, card, counter, open_ref))
    return media, found if content is file else _closing(found, content)


def _closing(segments: Iterator[Segment], content: BinaryIO) -> Iterator[Segment]:
    with closing(content):
        yield from segments


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Whatever goes wrong becomes an AssetError."""
    try:
        yield
    except AssetError:
        raise
    except MemoryError as error:
        raise AssetError(ErrorCode.OUT_OF_MEMORY, f"{what}: out of memory while decoding") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            detail = f"{what} needs a larger temporary file than run.decode.scratch_bytes allows"
            raise AssetError(ErrorCode.LIMIT, detail) from error
        code = ErrorCode.STORAGE if from_storage(error) else ErrorCode.INTERNAL
        raise AssetError(code, described(error)) from error


def segments(asset: Asset, decoder: Decoder | None = None) -> Iterator[Segment]:
    """The segments of an asset whose media type is known, by the decoder of that type or by another.

    Raises:
        AssetError: as the iterator of `decode`.
    """
    modality, card = asset.media.modality, asset.card
    if not any(map(card.accepts, _ENOUGH.get(modality, (modality,)))):
        raise AssetError(ErrorCode.MODALITY, f"{asset.media.mime}: {card.model_id} takes no {modality}")
    asset.file.seek(0, io.SEEK_SET)
    decoder = decoder or _BY_TYPE.get(asset.media.mime, _BY_MODALITY[modality])
    empty = True
    with _explained(asset.media.mime):
        for segment in decoder(asset):
            empty = False
            yield segment
    if empty:
        raise AssetError(ErrorCode.EMPTY, f"{asset.media.mime} without anything to embed")
