"""PDFs: pages as render and text, one by one, and what is wrong with them named."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
import pytest

from operators.decode.pdf import decode_pdf, pdf_page
from operators.parts import PartKind, Segment
from schemas.card import ImageInput, Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import PdfRecipe, Recipe
from tests.operators.decode.pages import Words, encrypted_pdf, make_card, pdf_bytes


def decoded(data: bytes, card: ModelCard | None = None, **pdf: Any) -> list[Segment]:
    recipe = Recipe(pdf=PdfRecipe(**pdf))
    return list(decode_pdf(io.BytesIO(data), recipe, card or make_card(), Words()))


def failure(data: bytes, card: ModelCard | None = None, **pdf: Any) -> AssetError:
    with pytest.raises(AssetError) as caught:
        decoded(data, card, **pdf)
    return caught.value


def test_each_page_is_its_render_then_its_text() -> None:
    first, second = decoded(pdf_bytes("hello lake", "second page"))
    assert [p.kind for p in first.parts] == [PartKind.IMAGE, PartKind.TEXT]
    assert first.modality is Modality.PAGE
    assert (first.locator.page, second.locator.page) == (1, 2)
    assert (first.text, second.parts[1].text) == ("hello lake", "second page")
    pixels = first.parts[0].array
    assert (pixels.shape, pixels.dtype) == ((64, 64, 3), np.uint8)
    assert pixels.max() == 255
    assert pixels[4:16].min() < 200, "the line of text is drawn near the top"
    assert pixels[20:].min() == 255


def test_a_scanned_page_has_pixels_and_no_text() -> None:
    (page,) = decoded(pdf_bytes(""))
    assert page.text is None
    assert len(page.parts) == 1
    pixels = page.parts[0].array
    assert pixels[60, 4].tolist() == [0, 0, 255], "RGB, origin at the bottom"
    assert pixels[4, 60].tolist() == [255, 255, 255]


def test_contain_keeps_the_aspect_of_the_page_within_the_area() -> None:
    card = make_card(image=ImageInput(fit="contain", side=96, multiple=16))
    (page,) = decoded(pdf_bytes("x"), card)
    height, width, _ = page.parts[0].array.shape
    assert (height % 16, width % 16) == (0, 0)
    assert height > width
    assert height * width <= 96 * 96


def test_a_word_hyphenated_at_a_line_end_is_whole_and_lines_stay_apart() -> None:
    (page,) = decoded(pdf_bytes("the iden-\ntifier\nof it"))
    assert page.text == "the identifier\nof it"


def test_a_giant_page_renders_at_the_models_size() -> None:
    (page,) = decoded(pdf_bytes("big", size="0 0 14400 14400"))
    assert page.parts[0].array.shape == (64, 64, 3)


def test_a_document_made_by_pdfium_gives_its_text_and_its_glyphs() -> None:
    document = pdfium.PdfDocument.new()
    page = document.new_page(300, 300)
    font = pdfium_c.FPDFText_LoadStandardFont(document, b"Helvetica")
    text = pdfium_c.FPDFPageObj_CreateTextObj(document, font, 40.0)
    encoded = "Grüße".encode("utf-16-le") + b"\0\0"
    pdfium_c.FPDFText_SetText(text, pdfium_c.cast(encoded, pdfium_c.FPDF_WIDESTRING))
    pdfium_c.FPDFPageObj_Transform(text, 1, 0, 0, 1, 20, 150)
    pdfium_c.FPDFPage_InsertObject(page, text)
    page.gen_content()
    out = io.BytesIO()
    document.save(out)
    (segment,) = decoded(out.getvalue())
    assert segment.text == "Grüße"
    assert segment.parts[0].array.min() < 128


def test_filled_form_fields_are_drawn() -> None:
    data = b"""%PDF-1.7
1 0 obj<</Type/Catalog/Pages 2 0 R/AcroForm<</Fields[4 0 R]>>>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 100 100]/Annots[4 0 R]>>endobj
4 0 obj<</Type/Annot/Subtype/Widget/FT/Tx/T(name)/F 4/Rect[0 0 50 50]/P 3 0 R/AP<</N 5 0 R>>>>endobj
5 0 obj<</Type/XObject/Subtype/Form/BBox[0 0 50 50]/Length 28>>stream
1 0 0 rg 0 0 50 50 re f     \nendstream endobj
trailer<</Root 1 0 R>>"""
    (page,) = decoded(data)
    red = (page.parts[0].array == (255, 0, 0)).all(axis=2)
    assert red[34:, :30].mean() > 0.8
    assert not red[:30].any()


def test_text_beside_the_render_keeps_to_the_recipe_and_the_model() -> None:
    data = pdf_bytes("one two three four five")
    (page,) = decoded(data, text_chars=9)
    assert page.parts[1].text == "one two t"
    assert page.text == "one two three four five", "people see all of it"
    (page,) = decoded(data, make_card(text_tokens=3))
    assert page.parts[1].text == "one two three"
    (page,) = decoded(data, make_card(tokens=64 + 2, text_tokens=64 + 2))
    assert page.parts[1].text == "one two", "render and text share the sequence"
    (page,) = decoded(data, text_chars=0)
    assert len(page.parts) == 1


def test_a_model_of_text_gets_the_text_and_skips_scans() -> None:
    card = make_card(Modality.TEXT, image=None)
    (page,) = decoded(pdf_bytes("", "words", ""), card)
    assert [p.kind for p in page.parts] == [PartKind.TEXT]
    assert page.locator.page == 2
    assert failure(pdf_bytes("", ""), card).code is ErrorCode.MODALITY


def test_an_encrypted_pdf_is_named_so() -> None:
    assert failure(encrypted_pdf()).code is ErrorCode.ENCRYPTED


@pytest.mark.parametrize("data", [b"%PDF-1.7\nnothing", pdf_bytes("x")[:120]])
def test_a_broken_pdf_is_corrupt(data: bytes) -> None:
    assert failure(data).code is ErrorCode.CORRUPT


def test_pages_before_a_broken_one_come_out_and_the_broken_one_is_named() -> None:
    pages = decode_pdf(io.BytesIO(pdf_bytes("good", None)), Recipe(), make_card(), Words())
    assert next(pages).text == "good"
    with pytest.raises(AssetError, match="page 2") as caught:
        next(pages)
    assert caught.value.code is ErrorCode.CORRUPT


def test_too_many_pages_are_refused_with_the_numbers() -> None:
    error = failure(pdf_bytes("a", "b", "c"), max_pages=2)
    assert error.code is ErrorCode.LIMIT
    assert "3 pages" in error.detail
    assert "2" in error.detail


def test_leaving_early_closes_the_document() -> None:
    pages = decode_pdf(io.BytesIO(pdf_bytes(*["x"] * 50)), Recipe(), make_card(), Words())
    next(pages)
    pages.close()  # type: ignore[attr-defined]
    assert len(decoded(pdf_bytes("again"))) == 1


def test_one_page_is_read_alone_and_a_missing_one_named() -> None:
    data = pdf_bytes("one", "two")
    assert pdf_page(io.BytesIO(data), 2, Recipe(), make_card(), Words()).text == "two"
    with pytest.raises(AssetError, match="page 3 of a PDF of 2"):
        pdf_page(io.BytesIO(data), 3, Recipe(), make_card(), Words())
