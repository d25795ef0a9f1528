"""PDF pages: each one rendered at the model's resolution, with its text.

pdfium is not safe in threads, not even behind a lock: decode PDFs in one thread of a process.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from operators.decode.beside import text_beside
from operators.decode.image import target_size
from operators.model.contract import TextCounter
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import ImageInput, Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

_MOST_CHARS = 1 << 18
"""Of a page's text; a page of a book holds 3,000."""
_HYPHEN = re.compile("[\x02\ufffe]\\s*|\xad(?:\r?\n)?")
_LINE_END = re.compile(r"[^\S\n]*\r?\n")


def decode_pdf(file: BinaryIO, recipe: Recipe, card: ModelCard, counter: TextCounter) -> Iterator[Segment]:
    """One segment a page: its render (uint8 `[height, width, 3]` RGB at the card's size), then its text.

    The text goes in the order in which the page draws it, `recipe.pdf.text_chars` and the model's tokens at
    most; `Segment.text` is all of it, None on a scanned page. A model that takes no rendered page gets the
    text alone, and pages without any are left out.

    Raises:
        AssetError: ENCRYPTED, CORRUPT (naming the page), LIMIT over `max_pages`, EMPTY without pages,
            MODALITY when a model of text finds none.
    """
    with _opened(file, recipe) as document:
        found = False
        for index in range(len(document)):
            segment = _page(document, index, recipe, card, counter)
            if segment.parts:
                found = True
                yield segment
    if not found:
        raise _no_text(card, "none of the pages has text")


def pdf_page(file: BinaryIO, page: int, recipe: Recipe, card: ModelCard, counter: TextCounter) -> Segment:
    """One page, counted from 1, as `decode_pdf` gives it.

    Raises:
        AssetError: as `decode_pdf`; INVALID_DOCUMENT when there is no such page.
    """
    with _opened(file, recipe) as document:
        if page > len(document):
            raise AssetError(ErrorCode.INVALID_DOCUMENT, f"page {page} of a PDF of {len(document)}")
        segment = _page(document, page - 1, recipe, card, counter)
    if not segment.parts:
        raise _no_text(card, f"page {page} has no text")
    return segment


def _no_text(card: ModelCard, what: str) -> AssetError:
    return AssetError(ErrorCode.MODALITY, f"{what}, and {card.model_id} takes no rendered pages")


@contextmanager
def _opened(file: BinaryIO, recipe: Recipe) -> Iterator[pdfium.PdfDocument]:
    file.seek(0)
    try:
        document = pdfium.PdfDocument(file)
    except pdfium.PdfiumError as error:
        if error.err_code in (pdfium_c.FPDF_ERR_PASSWORD, pdfium_c.FPDF_ERR_SECURITY):
            raise AssetError(ErrorCode.ENCRYPTED, "the PDF asks for a password") from error
        raise AssetError(ErrorCode.CORRUPT, f"pdfium: {error}") from error
    try:
        document.init_forms()
        if len(document) == 0:
            raise AssetError(ErrorCode.EMPTY, "the PDF has no pages")
        if len(document) > recipe.pdf.max_pages:
            detail = f"{len(document)} pages, the recipe allows {recipe.pdf.max_pages}"
            raise AssetError(ErrorCode.LIMIT, detail)
        yield document
    finally:
        document.close()


def _page(
    document: pdfium.PdfDocument, index: int, recipe: Recipe, card: ModelCard, counter: TextCounter
) -> Segment:
    """A page's segment; without parts when the model could see nothing of it."""
    locator = Locator(page=index + 1)
    want = card.image if card.accepts(Modality.PAGE) else None
    try:
        page = document[index]
        try:
            pixels = None if want is None else _render(page, want)
            text = _text(page)
        finally:
            page.close()
    except pdfium.PdfiumError as error:
        raise AssetError(ErrorCode.CORRUPT, f"page {index + 1}: pdfium: {error}") from error
    parts = [] if pixels is None else [Part(PartKind.IMAGE, data=pixels)]
    beside = text_beside(text, recipe, card, counter, image=pixels is not None)
    if beside:
        parts.append(Part(PartKind.TEXT, beside))
    return Segment(Modality.PAGE, tuple(parts), locator, text or None)


def _render(page: pdfium.PdfPage, want: ImageInput) -> npt.NDArray[np.uint8]:
    """The page over white, drawn straight at the size that the model sees: no resize, no giant bitmap."""
    points = page.get_size()
    if min(points) <= 0:
        raise pdfium.PdfiumError(f"a page of {points[0]:g} x {points[1]:g} points")
    width, height = target_size(max(1, round(points[0])), max(1, round(points[1])), want)
    bitmap = pdfium.PdfBitmap.new_native(width, height, pdfium_c.FPDFBitmap_BGR, rev_byteorder=True)
    try:
        bitmap.fill_rect((255, 255, 255, 255), 0, 0, width, height)
        flags = pdfium_c.FPDF_ANNOT | pdfium_c.FPDF_REVERSE_BYTE_ORDER
        place = (bitmap, page, 0, 0, width, height, 0, flags)
        pdfium_c.FPDF_RenderPageBitmap(*place)
        if page.formenv:
            pdfium_c.FPDF_FFLDraw(page.formenv, *place)
        return np.array(bitmap.to_numpy())
    finally:
        bitmap.close()


def _text(page: pdfium.PdfPage) -> str:
    """The page's text with one space between words and hyphenated words joined."""
    textpage = page.get_textpage()
    try:
        text = textpage.get_text_bounded()
    finally:
        textpage.close()
    return _LINE_END.sub("\n", _HYPHEN.sub("", text[:_MOST_CHARS])).replace("\0", "").strip()
