"""Word files: paragraphs, tables and pictures in their order, by their headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docx.opc.constants import CONTENT_TYPE
from docx.opc.part import PartFactory
from docx.package import Package
from docx.parts.document import DocumentPart
from docx.table import Table

from operators.decode.asset import Asset
from operators.decode.office.writer import Writer
from operators.decode.office.xml import check_parts, reported
from operators.decode.readable import readable_segments
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode

_HEADING = re.compile(r"heading (\d)", re.IGNORECASE)
_BLIP = "{http://schemas.openxmlformats.org/drawingml/2006/main}blip"
_DRAWN = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}docPr"
_EMBED = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}embed"
_DEEPEST = 6

# Templates and files with macros are built alike; the macros are never looked at.
for _kind in ("document.macroEnabled", "template.macroEnabledTemplate"):
    PartFactory.part_type_for[f"application/vnd.ms-word.{_kind}.main+xml"] = DocumentPart
PartFactory.part_type_for[CONTENT_TYPE.WML_DOCUMENT_MAIN.replace("document.main", "template.main")] = (
    DocumentPart
)


def decode_docx(asset: Asset) -> Iterator[Segment]:
    """Chunks of a document's body; headers, footers and comments are left out.

    Raises:
        AssetError: CORRUPT, EMPTY, LIMIT.
    """
    check_parts(asset.file)
    writer = Writer()
    with reported("docx"):
        part = Package.open(asset.file).main_document_part
        if not isinstance(part, DocumentPart):
            raise AssetError(ErrorCode.UNSUPPORTED, f"a Word file of the kind {part.content_type}")
        _Body(part, writer).write(part.document, 0)
    yield from readable_segments([writer.readable()], asset)


class _Body:
    def __init__(self, part: DocumentPart, writer: Writer) -> None:
        self.part, self.writer = part, writer
        self.styles: dict[str | None, tuple[int | None, bool]] = {}

    def write(self, container: Any, depth: int) -> None:
        """A document's or a cell's paragraphs and tables."""
        for block in container.iter_inner_content():
            if isinstance(block, Table):
                self._table(block, depth)
            else:
                self._paragraph(block)

    def _paragraph(self, paragraph: Any) -> None:
        element = paragraph._p
        level, listed = self._style(paragraph)
        listed = listed or (element.pPr is not None and element.pPr.numPr is not None)
        text = paragraph.text
        self.writer.block(
            f"- {text}" if listed and level is None and text.strip() else text, level, 1 if listed else 2
        )
        self._pictures(element)

    def _pictures(self, element: Any) -> None:
        described = (d.get("descr") or "" for d in element.iter(_DRAWN))
        for blip in element.iter(_BLIP):
            related = self.part.related_parts.get(blip.get(_EMBED))
            if related is not None:
                self.writer.picture(related.blob, next(described, ""))

    def _style(self, paragraph: Any) -> tuple[int | None, bool]:
        """The heading level of a paragraph's style, None for running text, and whether it is one of lists."""
        style = paragraph._p.style
        if style not in self.styles:
            name = paragraph.style.name or ""
            found = _HEADING.match(name)
            level = 1 if name == "Title" else int(found[1]) + 1 if found else None
            self.styles[style] = level, name.startswith("List ")
        return self.styles[style]

    def _table(self, table: Any, depth: int) -> None:
        for number, row in enumerate(table._tbl.tr_lst):
            cells = [self._cell(cell, depth) for cell in row.tc_lst]
            self.writer.row(cells, first=number == 0)
        for blip in table._tbl.iter(_BLIP):
            related = self.part.related_parts.get(blip.get(_EMBED))
            if related is not None:
                self.writer.picture(related.blob)

    def _cell(self, cell: Any, depth: int) -> str:
        if depth >= _DEEPEST:
            raise AssetError(ErrorCode.LIMIT, f"tables within tables, more than {_DEEPEST} deep")
        paragraphs = [p.text for p in cell.p_lst]
        nested = [
            self._cell(c, depth + 1) for table in cell.tbl_lst for row in table.tr_lst for c in row.tc_lst
        ]
        return " ".join((*paragraphs, *nested))
