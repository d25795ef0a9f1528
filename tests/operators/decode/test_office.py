"""Office files and books: their text by headings, slides, sheets and chapters, with their pictures."""

from __future__ import annotations

import io
import sys
import zipfile

import docx
import openpyxl
import pptx
import pytest

from operators.decode.office import sheets, writer
from operators.parts import PartKind, Segment
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode
from tests.operators.decode.pages import make_card
from tests.operators.decode.texts import (
    SAMPLES,
    book_file,
    decoded,
    failure,
    kinds,
    opendocument,
    outcome,
    png,
    said,
    saved,
    sheets_file,
    slides_file,
    word_file,
    zipped,
)

OFFICE = ("letter.docx", "show.pptx", "prices.xlsx", "book.epub", "knots.odt")
WORDS_ONLY = make_card(Modality.TEXT, image=None)


def pages(segments: list[Segment]) -> list[tuple[int | None, str | None]]:
    return [(s.locator.page, s.text) for s in segments]


def test_a_word_file_reads_in_its_order_with_its_headings_and_pictures() -> None:
    segments = decoded(word_file(), tokens=150)
    assert (segments[0].text or "").startswith(
        "Harbour guide\n\nBefore you sail.\n\nLights\n\nThe lighthouse"
    )
    parts = [part for segment in segments for part in segment.parts]
    (picture,) = (i for i, part in enumerate(parts) if part.kind is PartKind.IMAGE)
    assert (parts[picture + 1].text or "").startswith("After the picture.")
    assert "After the picture.\n- a rope" in said(segments)
    assert "name | depth\neast quay | 4 m" in said(segments)
    cut = decoded(word_file(), tokens=48)
    assert (cut[-1].parts[0].text or "").startswith("Harbour guide > Lights\n\n")


def test_a_word_file_with_macros_or_a_template_is_read_and_nested_tables_too() -> None:
    document = docx.Document()
    inner = document.add_table(1, 1).cell(0, 0)
    inner.text = "outer"
    inner.add_table(1, 1).cell(0, 0).text = "within"
    assert said(decoded(saved(document))) == "outer within"
    plain = "wordprocessingml.document.main+xml"
    for kind in ("wordprocessingml.template.main+xml", "vnd.ms-word.document.macroEnabled.main+xml"):
        data = saved(document)
        old = f"application/vnd.openxmlformats-officedocument.{plain}"
        new = kind if kind.startswith("vnd.ms") else f"vnd.openxmlformats-officedocument.{kind}"
        assert said(decoded(_rewritten(data, old, f"application/{new}"))) == "outer within"


def _rewritten(data: bytes, old: str, new: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members["[Content_Types].xml"] = members["[Content_Types].xml"].replace(old.encode(), new.encode())
    return zipped(members)


def test_a_slide_is_a_page_with_its_title_first_and_its_notes_last() -> None:
    first, second = decoded(slides_file())
    assert (first.locator.page, first.text) == (1, "Tides\n\ntwice a day\n\nNotes: mention the moon")
    assert (second.locator.page, kinds(second), second.modality) == (2, ["image"], Modality.DOCUMENT)
    assert pages(decoded(slides_file(), card=WORDS_ONLY)) == [(1, first.text)]


def test_a_sheet_is_a_page_with_a_line_for_each_row() -> None:
    segments = decoded(sheets_file())
    assert pages(segments) == [(1, "fish | price\nherring | 3\n| per kilo"), (2, "| Anna")]
    assert (segments[0].parts[0].text or "").startswith("Prices\n\nfish")


def test_cells_that_a_sheet_only_claims_to_have_are_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sheets, "MOST_CELLS", 20_000)
    book = openpyxl.Workbook()
    book.active["XFD2"] = book.active["XFD1"] = "far"
    assert failure(saved(book)).code is ErrorCode.LIMIT


def test_a_books_chapters_come_in_the_order_of_its_spine() -> None:
    calm, storm = decoded(book_file())
    assert (calm.locator.page, calm.text) == (1, "Calm\n\nNothing moved.")
    assert (storm.locator.page, storm.text) == (2, "Storm\n\nWaves rose.\n\nA wave")
    assert kinds(storm) == ["text", "image"]
    assert storm.parts[1].array[0, 0].tolist() == [0, 0, 128]
    assert (calm.parts[0].text or "").startswith("Sea stories\n\nCalm")


def test_rights_management_is_encrypted_and_disguised_fonts_are_not() -> None:
    for method, closed in (
        ("http://www.idpf.org/2008/embedding", False),
        ("http://www.w3.org/2001/04/xmlenc#aes", True),
    ):
        data = book_file(**{"META-INF/encryption.xml": f"<e><EncryptionMethod Algorithm='{method}'/></e>"})
        if closed:
            assert failure(data).code is ErrorCode.ENCRYPTED
        else:
            assert len(decoded(data)) == 2


def test_opendocument_texts_slides_and_sheets_are_read() -> None:
    segments = decoded(SAMPLES["knots.odt"], tokens=60)
    assert (segments[0].text or "").startswith("Knots\n\nTie it well.\n- bowline")
    assert kinds(segments[0]).count("image") == 1
    assert (segments[-1].parts[0].text or "").startswith("Knots > Use\n\n")
    rows = "".join(
        f"<table:table table:name='T{t}'><table:table-row>"
        f"<table:table-cell><text:p>a{t}</text:p></table:table-cell><table:table-cell/>"
        "<table:table-cell><text:p>b</text:p><text:p>c</text:p></table:table-cell></table:table-row></table:table>"
        for t in (1, 2)
    )
    found = decoded(opendocument("spreadsheet", rows))
    assert pages(found) == [(1, "a1 |  | b c"), (2, "a2 |  | b c")]
    slides = (
        "<draw:page><draw:frame><draw:text-box><text:p>one</text:p></draw:text-box></draw:frame></draw:page>"
        * 2
    )
    assert pages(decoded(opendocument("presentation", slides))) == [(1, "one"), (2, "one")]


def test_rtf_is_read() -> None:
    assert said(decoded(SAMPLES["old.rtf"], "a.doc")) == "Ahoy there\ncafé"


@pytest.mark.parametrize("name", OFFICE)
def test_office_files_are_known_by_content_under_any_name(name: str) -> None:
    assert [s.text for s in decoded(SAMPLES[name], "x.txt")] == [s.text for s in decoded(SAMPLES[name], name)]


@pytest.mark.parametrize("name", OFFICE)
def test_office_files_without_their_libraries_say_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [m for m in sys.modules if m.startswith("operators.decode.office")]:
        monkeypatch.delitem(sys.modules, module)
    for library in ("lxml", "lxml.etree", "docx", "docx.opc.constants", "openpyxl", "pptx"):
        monkeypatch.setitem(sys.modules, library, None)
    error = failure(SAMPLES[name], name)
    assert error.code is ErrorCode.UNSUPPORTED
    assert "embedlake[office]" in error.detail


@pytest.mark.parametrize("name", OFFICE)
def test_a_zip_bomb_is_refused_before_a_library_sees_it(name: str) -> None:
    with zipfile.ZipFile(io.BytesIO(SAMPLES[name])) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    error = failure(zipped({**members, "bomb.xml": b"0" * (40 << 20)}))
    assert error.code is ErrorCode.LIMIT
    assert "unpacks to" in error.detail


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("letter.docx", "word/document.xml"),
        ("show.pptx", "ppt/slides/slide1.xml"),
        ("prices.xlsx", "xl/worksheets/sheet1.xml"),
        ("prices.xlsx", "xl/workbook.xml"),
        ("book.epub", "OEBPS/b.opf"),
        ("knots.odt", "content.xml"),
    ],
)
def test_entities_are_not_expanded(name: str, part: str) -> None:
    with zipfile.ZipFile(io.BytesIO(SAMPLES[name])) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    levels = "".join(f"<!ENTITY e{i} '{f'&e{i - 1};' * 10}'>" for i in range(1, 9))
    bomb = f"<!DOCTYPE x [<!ENTITY e0 'boom'>{levels}<!ENTITY f SYSTEM 'file:///etc/hostname'>]>"
    body = members[part].decode()
    head, mark, rest = body.partition("?>")
    start = (head + mark if mark else "") + bomb
    end = (rest if mark else body).rindex("</")
    members[part] = (
        start + (rest if mark else body)[:end] + "&e8;&f;" + (rest if mark else body)[end:]
    ).encode()
    found = outcome(zipped(members))
    if isinstance(found, AssetError):
        assert found.code in (ErrorCode.CORRUPT, ErrorCode.EMPTY), found
    else:
        assert "boom" not in found


def test_a_text_too_large_to_hold_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_CHARS", 50)
    assert failure(word_file()).code is ErrorCode.LIMIT


def ole(*streams: str) -> bytes:
    """The head of an OLE2 file and a directory with such names."""
    head = bytearray(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504))
    head[30:32], head[48:52] = (9).to_bytes(2, "little"), (2).to_bytes(4, "little")
    entries = b"".join(name.encode("utf-16-le").ljust(128, b"\0") for name in ("Root Entry", *streams))
    return bytes(head) + bytes(1024) + entries


@pytest.mark.parametrize(
    ("stream", "code", "says"),
    [
        ("WordDocument", ErrorCode.UNSUPPORTED, ".docx"),
        ("PowerPoint Document", ErrorCode.UNSUPPORTED, ".pptx"),
        ("__properties_version1.0", ErrorCode.UNSUPPORTED, ".eml"),
        ("EncryptedPackage", ErrorCode.ENCRYPTED, "password"),
        ("Thumbs", ErrorCode.UNSUPPORTED, "OLE2"),
        ("Workbook", ErrorCode.CORRUPT, "xls"),
    ],
)
def test_old_office_files_are_told_apart_and_name_a_way_out(stream: str, code: ErrorCode, says: str) -> None:
    error = failure(ole(stream), "letter.docx")
    assert error.code is code
    assert says in error.detail


def test_a_linked_or_unreadable_picture_leaves_the_slide() -> None:
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "Tides"
    slide.shapes.add_picture(io.BytesIO(png()), 0, 0)._element.blipFill.blip.rEmbed = "rId99"
    (segment,) = decoded(saved(show))
    assert (kinds(segment), segment.text) == (["text"], "Tides")


def test_surrogates_of_an_rtf_are_its_emoji() -> None:
    (segment,) = decoded(rb"{\rtf1\ansi gulls \u-10179?\u-8704? and \u-10179? half}", "a.rtf")
    assert segment.text == "gulls \U0001f600 and \ufffd half"
