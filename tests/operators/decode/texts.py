"""What the text decoders' tests share: one sample of each format, made by code, and a short way to decode it."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from typing import Any, BinaryIO

import docx
import openpyxl
import pptx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from operators.decode.registry import decode
from operators.model.contract import TextCounter
from operators.parts import Segment
from schemas.card import ModelCard
from schemas.errors import AssetError, ErrorCode, Stage
from schemas.recipe import Recipe, TextRecipe
from tests.operators.decode.pages import Words, make_card

WORDS = "The lighthouse keeper counts the ships that pass at night. " * 12


def png(colour: str = "red", side: int = 80) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), colour).save(out, "PNG")
    return out.getvalue()


def opener(files: Mapping[str, bytes], asked: list[str] | None = None) -> Callable[[str], BinaryIO]:
    def open_ref(reference: str) -> BinaryIO:
        if asked is not None:
            asked.append(reference)
        if reference not in files:
            raise AssetError(ErrorCode.NOT_FOUND, f"{reference} is not there", Stage.FETCH)
        return io.BytesIO(files[reference])

    return open_ref


def decoded(
    data: bytes,
    name: str = "x",
    tokens: int = 64,
    overlap: int = 0,
    card: ModelCard | None = None,
    counter: TextCounter | None = None,
    files: Mapping[str, bytes] | Callable[[str], BinaryIO] = {},  # noqa: B006 (never changed)
    **recipe: Any,
) -> list[Segment]:
    text = recipe.pop("text", {})
    made = Recipe(text=TextRecipe(chunk_tokens=tokens, overlap_tokens=overlap, **text), **recipe)
    open_ref = files if callable(files) else opener(files)
    return list(decode(io.BytesIO(data), name, made, card or make_card(), counter or Words(), open_ref)[1])


def failure(data: bytes, name: str = "x", **options: Any) -> AssetError:
    with pytest.raises(AssetError) as caught:
        decoded(data, name, **options)
    assert "\n" not in caught.value.detail
    return caught.value


def outcome(data: bytes, name: str = "x", **options: Any) -> str | AssetError:
    """The text of an asset, or why it has none."""
    try:
        return said(decoded(data, name, **options))
    except AssetError as error:
        return error


def said(segments: list[Segment]) -> str:
    return "\n".join(segment.text or "" for segment in segments)


def kinds(segment: Segment) -> list[str]:
    return [str(part.kind) for part in segment.parts]


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word_file() -> bytes:
    document = docx.Document()
    document.add_heading("Harbour guide", 0)
    document.add_paragraph("Before you sail.")
    document.add_heading("Lights", 1)
    document.add_paragraph(WORDS)
    document.add_picture(io.BytesIO(png()))
    document.add_paragraph("After the picture.")
    document.add_paragraph("a rope", style="List Bullet")
    table = document.add_table(2, 2)
    for cell, text in zip(table._cells, ("name", "depth", "east quay", "4 m"), strict=True):
        cell.text = text
    return saved(document)


def slides_file() -> bytes:
    show = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "Tides"
    slide.shapes.add_textbox(0, 0, 99, 99).text_frame.text = "twice a day"
    slide.notes_slide.notes_text_frame.text = "mention the moon"
    slide = show.slides.add_slide(show.slide_layouts[6])
    slide.shapes.add_picture(io.BytesIO(png("blue")), 0, 0)
    return saved(show)


def sheets_file() -> bytes:
    book = openpyxl.Workbook()
    book.active.title = "Prices"
    for row in (["fish", "price"], ["herring", 3.0], [], [None, "per kilo"]):
        book.active.append(row)
    book.create_sheet("Boats")["B3"] = "Anna"
    return saved(book)


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def book_file(**more: bytes | str) -> bytes:
    chapter = "<html><head><title/></head><body><h1>{}</h1><p>{}</p>{}</body></html>"
    return zipped(
        {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": "<container><rootfile full-path='OEBPS/b.opf'/></container>",
            "OEBPS/b.opf": "<package xmlns:dc='urn:dc'><metadata><dc:title>Sea stories</dc:title></metadata><manifest>"
            "<item id='a' href='text/one.xhtml' media-type='application/xhtml+xml'/>"
            "<item id='b' href='text/two%20b.xhtml' media-type='application/xhtml+xml'/>"
            "<item id='p' href='p.png' media-type='image/png'/></manifest>"
            "<spine><itemref idref='b'/><itemref idref='a'/></spine></package>",
            "OEBPS/text/one.xhtml": chapter.format(
                "Storm", "Waves rose.", "<img src='../p.png' alt='A wave'/>"
            ),
            "OEBPS/text/two b.xhtml": chapter.format("Calm", "Nothing moved.", ""),
            "OEBPS/p.png": png("navy"),
            **more,
        }
    )


_ODF = " ".join(
    f"xmlns:{name}='urn:oasis:names:tc:opendocument:xmlns:{long}:1.0'"
    for name, long in (("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"))
)


def opendocument(kind: str, body: str, **more: bytes | str) -> bytes:
    content = (
        f"<office:document-content {_ODF} xmlns:xlink='http://www.w3.org/1999/xlink'><office:body>"
        f"<office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    )
    mime = f"application/vnd.oasis.opendocument.{kind}"
    return zipped({"mimetype": mime, "content.xml": content, "Pictures/a.png": png("green"), **more})


def odt_file() -> bytes:
    return opendocument(
        "text",
        "<text:h text:outline-level='1'>Knots</text:h><text:p>Tie<text:s/>it <text:span>well</text:span>.</text:p>"
        "<text:p><draw:frame><draw:image xlink:href='Pictures/a.png'/></draw:frame></text:p>"
        "<text:list><text:list-item><text:p>bowline</text:p></text:list-item></text:list>"
        f"<text:h text:outline-level='2'>Use</text:h><text:p>{WORDS}</text:p>",
    )


def mail(html: bool = True) -> EmailMessage:
    message = EmailMessage()
    message["Subject"] = "Fête du port"
    message["From"], message["To"], message["Message-ID"] = (
        "a@example.org",
        "b@example.org",
        "<1@example.org>",
    )
    message.set_content("See you at the quay.")
    if html:
        message.add_alternative("<p>See the quay:</p><img src='cid:q'><p>at noon</p>", subtype="html")
        message.get_payload()[1].add_related(png(), "image", "png", cid="<q>")
    message.add_attachment("bring rope", filename="list.txt")
    message.add_attachment(b"%PDF-1.4", maintype="application", subtype="pdf", filename="map.pdf")
    inner = EmailMessage()
    inner["Subject"] = "Old news"
    inner.set_content("The crane is broken.")
    message.add_attachment(inner)
    return message


def csv_file(delimiter: str = ",") -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=delimiter).writerows(
        [["title", "body"], ["Herring", 'a small, "silver" fish\nof the sea'], ["Cod", "larger"]]
    )
    return out.getvalue().encode()


TABLE = pa.table(
    {"title": ["Herring", "Cod"], "body": ["small", "larger"], "raw": [b"\0", None], "n": [1, None]}
)


def arrow_file(stream: bool = False) -> bytes:
    out = io.BytesIO()
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return out.getvalue()


def parquet_file(table: pa.Table = TABLE) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out)
    return out.getvalue()


MARKDOWN = f"# Guide\n\nStart here.\n\n## Sails\n\n{WORDS}\n\n## Ropes\n\nThree of them.\n"
NOTEBOOK = json.dumps(
    {
        "nbformat": 4,
        "metadata": {"language_info": {"name": "python"}},
        "cells": [
            {"cell_type": "markdown", "source": ["# Tides\n", "by hour"]},
            {
                "cell_type": "code",
                "source": "print(1 + 1)",
                "outputs": [{"output_type": "stream", "text": ["2\n"]}],
            },
        ],
    }
)
CODE = '''"""Tides."""

import math


class Tide:
    """High and low water."""

    def high(self) -> float:
        """When the water is high."""
        return math.sin(self.hour) * self.height + self.mean + self.offset + self.drift

    # Low water comes six hours later.
    def low(self) -> float:
        return self.high() + 6 + self.delay + self.wind + self.pressure + self.current


def report(tide: Tide) -> str:
    return f"{tide.high()} and {tide.low()}"
'''
SUBTITLES = "1\n00:00:01,000 --> 00:00:02,500\n<i>Ahoy</i> there\n\n2\n00:00:03,000 --> 00:00:04,000\nLand\nin sight\n"
SAMPLES: dict[str, bytes] = {
    "plain.txt": WORDS.encode(),
    "guide.md": MARKDOWN.encode(),
    "page.html": f"<!doctype html><h1>Sea</h1><p>{WORDS}<h2>Shore</h2><p>Sand.".encode(),
    "rows.csv": csv_file(),
    "rows.jsonl": b'{"title": "Herring", "body": "small"}\n{"title": "Cod", "body": null}\n',
    "rows.parquet": parquet_file(),
    "rows.arrow": arrow_file(),
    "stream.arrow": arrow_file(stream=True),
    "tide.py": CODE.encode(),
    "note.ipynb": NOTEBOOK.encode(),
    "film.srt": SUBTITLES.encode(),
    "letter.eml": mail().as_bytes(),
    "letter.docx": word_file(),
    "show.pptx": slides_file(),
    "prices.xlsx": sheets_file(),
    "book.epub": book_file(),
    "knots.odt": odt_file(),
    "old.rtf": rb"{\rtf1\ansi\ansicpg1252 Ahoy \b there\b0\par caf\'e9}",
}
"""One of each format, by file name."""
