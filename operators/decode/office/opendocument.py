"""OpenDocument texts, presentations and spreadsheets: a text for the document, each slide or each sheet."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import Any

from operators.decode.asset import Asset
from operators.decode.identify import ODT
from operators.decode.office.writer import Writer
from operators.decode.office.xml import check_parts, parse_xml, reported
from operators.decode.readable import Readable, readable_segments
from operators.decode.unpack import zip_member
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode

_NS = "{{urn:oasis:names:tc:opendocument:xmlns:{}:1.0}}{}"
_H, _P, _LIST_ITEM = (_NS.format("text", name) for name in ("h", "p", "list-item"))
_S, _TAB, _BREAK = (_NS.format("text", name) for name in ("s", "tab", "line-break"))
_NOTE, _DELETED = _NS.format("text", "note-citation"), _NS.format("text", "tracked-changes")
_TABLE, _ROW, _CELL = (_NS.format("table", name) for name in ("table", "table-row", "table-cell"))
_SLIDE, _IMAGE, _FRAME = (_NS.format("drawing", name) for name in ("page", "image", "frame"))
_ANNOTATION, _BODY = _NS.format("office", "annotation"), _NS.format("office", "body")
_LEVEL, _NAME = _NS.format("text", "outline-level"), "name"
_HREF = "{http://www.w3.org/1999/xlink}href"
_DEEPEST = 200


def decode_opendocument(asset: Asset) -> Iterator[Segment]:
    """Chunks of a text by its headings, or of slides or sheets, whose number is `page`.

    Raises:
        AssetError: CORRUPT, ENCRYPTED, EMPTY, LIMIT.
    """
    check_parts(asset.file)
    with reported("OpenDocument"), zipfile.ZipFile(asset.file) as archive:
        manifest = zip_member(archive, "META-INF/manifest.xml") or b""
        if b"encryption-data" in manifest:
            raise AssetError(ErrorCode.ENCRYPTED, "the document asks for a password")
        content = zip_member(archive, "content.xml")
        if content is None:
            raise AssetError(ErrorCode.CORRUPT, "OpenDocument without content.xml")
        yield from readable_segments(_texts(parse_xml(content), archive, asset.media.mime), asset)


def _texts(root: Any, archive: zipfile.ZipFile, mime: str) -> Iterator[Readable]:
    body = next(root.iter(_BODY), None)
    if body is None:
        raise AssetError(ErrorCode.CORRUPT, "OpenDocument without a body")
    pages = [] if mime == ODT else [child for kind in body for child in kind if child.tag in (_SLIDE, _TABLE)]
    for number, page in enumerate(pages or [body], 1):
        writer = Writer()
        _Blocks(archive, writer).write(page, 0)
        sheet = page.get(_NS.format("table", _NAME)) if page.tag == _TABLE else None
        yield writer.readable(number if pages else None, (sheet,) if sheet else ())


class _Blocks:
    def __init__(self, archive: zipfile.ZipFile, writer: Writer) -> None:
        self.archive, self.writer = archive, writer

    def write(self, element: Any, depth: int) -> None:
        """What an element holds, in its order."""
        if depth > _DEEPEST:
            raise AssetError(ErrorCode.LIMIT, f"elements more than {_DEEPEST} deep")
        tag = element.tag
        if tag == _ROW:
            cells = ("".join(_text(cell)) for cell in element if cell.tag == _CELL)
            self.writer.row(cells)
            self._pictures(element)
        elif tag in (_H, _P):
            level = int(element.get(_LEVEL) or 1) if tag == _H else None
            listed = level is None and any(e.tag == _LIST_ITEM for e in element.iterancestors())
            text = "".join(_text(element)).strip()
            self.writer.block(f"- {text}" if listed and text else text, level, 1 if listed else 2)
            self._pictures(element)
        elif tag == _IMAGE:
            self._picture(element)
        elif tag not in (_ANNOTATION, _DELETED):
            for child in element:
                self.write(child, depth + 1)

    def _pictures(self, element: Any) -> None:
        for image in element.iter(_IMAGE):
            self._picture(image)

    def _picture(self, image: Any) -> None:
        name = posixpath.normpath(image.get(_HREF) or ".")
        alt = " ".join("".join(t.itertext()) for t in image.getparent().iter("{*}title", "{*}desc"))
        self.writer.picture(partial(zip_member, self.archive, name), alt)


def _text(element: Any) -> Iterator[str]:
    """The characters of an element, its own spaces and breaks included, notes and pictures left out."""
    yield element.text or ""
    for child in element:
        if child.tag == _S:
            yield " "
        elif child.tag in (_TAB, _BREAK):
            yield "\t" if child.tag == _TAB else "\n"
        elif child.tag not in (_ANNOTATION, _NOTE, _FRAME) and isinstance(child.tag, str):
            yield from _text(child)
            yield " " if child.tag == _P else ""
        yield child.tail or ""
