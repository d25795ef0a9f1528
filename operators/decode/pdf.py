"""PDF pages: each one rendered at the model's resolution, with its text.

pdfium is not safe in threads, not even behind a lock: decode PDFs in one thread of a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from operators.decode.beside import chunk_room, page_room, sequence_room, text_beside
from operators.decode.chunk import chunk
from operators.decode.image import Pixels, target_size
from operators.decode.pdf_text import page_text
from operators.model.contract import TextCounter
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import ImageInput, Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe


def decode_pdf(file: BinaryIO, recipe: Recipe, card: ModelCard, counter: TextCounter) -> Iterator[Segment]:
    """One segment a page, or for each `recipe.pdf.pages_per_segment` of them as far as the model takes so many.

    A page is its render (uint8 `[height, width, 3]` RGB at the card's size), then its text in reading order:
    `recipe.pdf.text_chars` of it at most, and of the model's tokens an even share. `Segment.text` is all of it, None
    on scanned pages. A model that takes no rendered page gets all of each page's text in chunks as of any text, whose
    locators count the page's characters; pages without text are left out.

    Raises:
        AssetError: ENCRYPTED, CORRUPT (naming the page), LIMIT over `max_pages`, EMPTY without pages,
            MODALITY when a model of text finds none.
    """
    reader, found = _Reader(recipe, card, counter), False
    with _opened(file, recipe) as document:
        for segment in reader.segments(document):
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
        segment = _Reader(recipe, card, counter).segment(document, range(page - 1, page))
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


@dataclass(frozen=True, slots=True)
class _Reader:
    """Pages as segments for one model."""

    recipe: Recipe
    card: ModelCard
    counter: TextCounter

    @property
    def pages_per_segment(self) -> int:
        """The recipe's, within the pictures and tokens of one input."""
        most = self.recipe.pdf.pages_per_segment
        limits, each = self.card.limits, max(1, self.card.token_costs.image)
        return max(1, min(most, limits.images, sequence_room(self.card) // each))

    @property
    def _want(self) -> ImageInput | None:
        return self.card.image if self.card.accepts(Modality.PAGE) else None

    def segments(self, document: pdfium.PdfDocument) -> Iterator[Segment]:
        """All pages."""
        if self._want is None:
            for index in range(len(document)):
                yield from self._chunks(document, index)
            return
        step = self.pages_per_segment
        for first in range(0, len(document), step):
            yield self.segment(document, range(first, min(first + step, len(document))))

    def _chunks(self, document: pdfium.PdfDocument, index: int) -> Iterator[Segment]:
        _, text = self._page(document, index)
        budget = chunk_room(self.recipe, self.card)
        for piece in chunk([text], self.counter, budget, self.recipe.text.overlap_tokens):
            locator = Locator(page=index + 1, char_start=piece.start, char_end=piece.end)
            yield Segment(Modality.PAGE, (Part(PartKind.TEXT, piece.text),), locator, piece.text)

    def segment(self, document: pdfium.PdfDocument, pages: range) -> Segment:
        """The pages (from 0) in one segment; without parts when the model could see nothing of them."""
        read = [self._page(document, index) for index in pages]
        room = page_room(self.card, 0 if self._want is None else len(pages))
        parts: list[Part] = []
        for done, (pixels, text) in enumerate(read):
            beside, tokens = text_beside(text, self.recipe, self.counter, room // (len(read) - done))
            room -= tokens
            parts += [] if pixels is None else [Part(PartKind.IMAGE, data=pixels)]
            parts += [Part(PartKind.TEXT, beside)] if beside else []
        last = pages[-1] + 1 if len(pages) > 1 else None
        said = "\n\n".join(text for _, text in read if text)
        return Segment(Modality.PAGE, tuple(parts), Locator(page=pages[0] + 1, page_end=last), said or None)

    def _page(self, document: pdfium.PdfDocument, index: int) -> tuple[Pixels | None, str]:
        """A page's render, where the model takes one, and its text."""
        try:
            page = document[index]
            try:
                return None if self._want is None else _render(page, self._want), page_text(page)
            finally:
                page.close()
        except pdfium.PdfiumError as error:
            raise AssetError(ErrorCode.CORRUPT, f"page {index + 1}: pdfium: {error}") from error


def _render(page: pdfium.PdfPage, want: ImageInput) -> Pixels:
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
