"""PDFs: pages as render and text, one by one, and what is wrong with them named."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decode.pdf import decode_pdf, pdf_page
from operators.parts import PartKind, Segment
from schemas.card import ImageInput, Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import PdfRecipe, Recipe
from tests.operators.decode.pages import Words, encrypted_pdf, make_card, pdf_bytes, placed_pdf


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


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 90), min_size=1, max_size=4).filter(any), limit=st.integers(4, 40))
def test_a_model_of_text_is_given_every_word_of_every_page(lengths: list[int], limit: int) -> None:
    pages = [[f"p{n}w{i}" for i in range(count)] for n, count in enumerate(lengths)]
    data = pdf_bytes(*["\n".join(words) for words in pages], size="0 -3000 400 400")
    found = decoded(data, make_card(Modality.TEXT, image=None, text_tokens=limit))
    for number, words in enumerate(pages, 1):
        chunks = [one for one in found if one.locator.page == number]
        assert {word for one in chunks for word in (one.text or "").split()} == set(words)
        assert all(len((one.text or "").split()) <= limit for one in chunks)
        spans = [(one.locator.char_start, one.locator.char_end) for one in chunks]
        assert spans == sorted(set(spans))


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


LEFT = [f"left column line {n} runs along here" for n in range(6)]
RIGHT = [f"right column line {n} runs along here" for n in range(6)]


def column(x: float, lines: list[str], y: float = 700) -> list[tuple[float, float, str]]:
    return [(x, y - 12 * n, text) for n, text in enumerate(lines)]


def across(*columns: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """The lines of columns drawn row by row, as some printers do."""
    return [line for row in zip(*columns, strict=True) for line in row]


def text_of(data: bytes) -> list[str]:
    (page,) = decoded(data)
    return (page.text or "").split("\n")


@pytest.mark.parametrize("apart", [0, 5], ids=["on one baseline", "on baselines of their own"])
def test_two_columns_are_read_one_after_the_other_however_they_are_drawn(apart: int) -> None:
    left, right = column(50, LEFT), column(320, RIGHT, 700 - apart)
    want = LEFT + RIGHT
    assert text_of(placed_pdf(*left, *right)) == want
    assert text_of(placed_pdf(*across(left, right))) == want
    assert text_of(placed_pdf(*right, *left)) == want


def test_a_title_and_a_footnote_across_two_columns_stay_at_their_ends() -> None:
    title = (
        50,
        760,
        "A title that goes over both columns of the page, from the left margin to the right one",
    )
    note = (
        50,
        560,
        "A footnote that goes over both columns of the page, from the left margin to the right one",
    )
    body = across(column(50, [*LEFT[:5], "ends."]), column(320, RIGHT))
    want = [title[2], *LEFT[:5], "ends.", *RIGHT, note[2]]
    assert text_of(placed_pdf(note, *body, title)) == want


def test_a_table_is_read_across() -> None:
    rows = [[f"item {n}", f"{n} kg", f"{n * 3} EUR"] for n in range(8)]
    cells = across(*(column(50 + 150 * k, [row[k] for row in rows]) for k in range(3)))
    assert " ".join(text_of(placed_pdf(*cells))).split() == " ".join(" ".join(row) for row in rows).split()


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_page_that_is_shown_turned_is_rendered_and_read_turned(turn: int) -> None:
    card = make_card(image=ImageInput(side=600))
    (page,) = decoded(placed_pdf(*column(50, LEFT, 500), size="0 0 600 600", page=f"/Rotate {turn}"), card)
    (upright,) = decoded(placed_pdf(*column(50, LEFT, 500), size="0 0 600 600"), card)
    shown, ink = page.parts[0].array.astype(int), upright.parts[0].array.astype(int)
    apart = [np.abs(np.rot90(shown, back) - ink).mean() for back in range(4)]
    assert int(np.argmin(apart)) == turn // 90
    assert min(apart) < 0.5 * sorted(apart)[1]
    assert page.text == "\n".join(LEFT)


@pytest.mark.parametrize(("turns", "matrix"), [(90, "0 1 -1 0"), (180, "-1 0 0 -1"), (270, "0 -1 1 0")])
def test_text_drawn_turned_is_read_as_if_it_stood_upright(turns: int, matrix: str) -> None:
    cosine, sine = np.cos(np.radians(turns)), np.sin(np.radians(turns))
    drawn = [
        (400 + x * cosine - y * sine, 400 + x * sine + y * cosine, text)
        for x, y, text in across(column(-250, LEFT, 50), column(20, RIGHT, 50))
    ]
    lines = [(round(x), round(y), text) for x, y, text in drawn]
    assert text_of(placed_pdf(*lines, size="0 0 800 800", matrix=matrix)) == LEFT + RIGHT


def widget(number: int, rest: str) -> str:
    return f"{number} 0 obj<</Type/Annot/Subtype/Widget/P 4 0 R/F 4/Rect[0 {number} 50 {number + 9}]{rest}>>endobj\n"


def test_filled_fields_and_notes_are_read_and_secrets_are_not() -> None:
    more = (
        widget(10, "/FT/Tx/T(f1)/TU(Your name)/V(Ada Lovelace)")
        + widget(11, "/FT/Tx/T(f2)/V(London)")
        + widget(12, "/FT/Tx/T(f3)/TU(PIN)/Ff 8192/V(4711)")
        + widget(13, "/FT/Tx/T(f4)/TU(Empty)")
        + "14 0 obj<</Type/Annot/Subtype/Text/Rect[0 90 9 99]/Contents(ask legal first)>>endobj\n"
        + "15 0 obj<</Type/Annot/Subtype/Text/F 2/Rect[0 90 9 99]/Contents(hidden)>>endobj\n"
        + "16 0 obj<</Type/Annot/Subtype/Link/Rect[0 90 9 99]/Contents(a link)>>endobj\n"
    )
    annots = "/Annots[10 0 R 11 0 R 12 0 R 13 0 R 14 0 R 15 0 R 16 0 R]"
    data = placed_pdf((50, 700, "A form"), page=annots, more=more)
    assert text_of(data) == ["A form", "Your name: Ada Lovelace", "London", "ask legal first"]


@given(
    pages=st.integers(1, 40), per=st.integers(1, 50), images=st.integers(1, 12), tokens=st.integers(80, 1_000)
)
@settings(max_examples=60, deadline=None)
def test_every_page_is_in_exactly_one_segment_within_the_model(
    pages: int, per: int, images: int, tokens: int
) -> None:
    card = make_card(images=images, tokens=tokens, text_tokens=60)
    segments = decoded(
        pdf_bytes(*[f"page {n} of many" for n in range(1, pages + 1)]), card, pages_per_segment=per
    )
    seen: list[int] = []
    for segment in segments:
        first, last = segment.locator.page or 0, segment.locator.page_end or segment.locator.page or 0
        kinds = [part.kind for part in segment.parts]
        words = sum(len(Words().offsets(part.text or "")) for part in segment.parts)
        assert kinds.count(PartKind.IMAGE) == last - first + 1 <= min(per, images)
        assert kinds.count(PartKind.IMAGE) * 64 + words <= tokens
        assert all(f"page {n} of many" in (segment.text or "") for n in range(first, last + 1))
        seen += range(first, last + 1)
    assert seen == list(range(1, pages + 1))


def test_pages_of_a_segment_share_its_text_and_keep_their_order() -> None:
    data = pdf_bytes("one two three four", "", "six seven eight nine")
    (segment,) = decoded(data, make_card(text_tokens=6), pages_per_segment=3)
    image, text = PartKind.IMAGE, PartKind.TEXT
    assert [part.kind for part in segment.parts] == [image, text, image, image, text]
    assert [part.text for part in segment.parts if part.text] == ["one two", "six seven eight nine"]
    assert segment.text == "one two three four\n\nsix seven eight nine"
    assert (segment.locator.page, segment.locator.page_end) == (1, 3)
