"""EPUB books: one text a chapter, in the order of the spine, with its pictures."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from operators.decode.asset import Asset
from operators.decode.html import html_readable
from operators.decode.office.xml import check_parts, parse_xml, reported
from operators.decode.readable import Picture, Readable, readable_segments
from operators.decode.unpack import zip_member
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode

_OPEN_ENCRYPTION = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
"""Fonts that are only made unlike themselves: the text is open."""
_CLOSED_TAG = re.compile(r"<([a-zA-Z][\w:.-]*)((?:[^<>\"']|\"[^\"<]*\"|'[^'<]*')*?)/>")
_VOID = re.compile("area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr", re.IGNORECASE)
_XHTML = ("application/xhtml+xml", "text/html")


def decode_epub(asset: Asset) -> Iterator[Segment]:
    """Chunks of a book's chapters; `page` is the number of the spine's item.

    Raises:
        AssetError: CORRUPT, ENCRYPTED with rights management, EMPTY, LIMIT.
    """
    check_parts(asset.file)
    with reported("epub"), zipfile.ZipFile(asset.file) as archive:
        _refuse_encryption(archive)
        yield from readable_segments(_chapters(archive), asset)


def _refuse_encryption(archive: zipfile.ZipFile) -> None:
    listed = zip_member(archive, "META-INF/encryption.xml")
    if listed is None:
        return
    methods = {method.get("Algorithm") for method in parse_xml(listed).iter("{*}EncryptionMethod")}
    if methods - set(_OPEN_ENCRYPTION):
        raise AssetError(ErrorCode.ENCRYPTED, "the book has rights management")


def _chapters(archive: zipfile.ZipFile) -> Iterator[Readable]:
    book_path = _attribute(_root(archive, "META-INF/container.xml"), "rootfile", "full-path")
    book = _root(archive, book_path)
    title = next((" ".join(found.itertext()).strip() for found in book.iter("{*}title")), "")
    items = {item.get("id"): item for item in book.iter("{*}item")}
    folder = posixpath.dirname(book_path)
    for number, reference in enumerate(book.iter("{*}itemref"), 1):
        item = items.get(reference.get("idref"))
        if item is None or item.get("media-type") not in _XHTML:
            continue
        name = _within(folder, item.get("href") or "")
        body = zip_member(archive, name)
        if body is None:
            raise AssetError(ErrorCode.CORRUPT, f"epub without its chapter {name}")
        yield _chapter(archive, name, body, number, title)


def _chapter(archive: zipfile.ZipFile, name: str, body: bytes, number: int, title: str) -> Readable:
    codec = "utf-16" if body[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    page = html_readable(_CLOSED_TAG.sub(_opened, body.decode(codec, "replace")), number)
    folder = posixpath.dirname(name)
    pictures = tuple(
        Picture(p.at, partial(zip_member, archive, _within(folder, str(p.source))))
        for p in page.pictures
        if not urlsplit(str(p.source)).scheme
    )
    return replace(page, pictures=pictures, path=(title,) if title else ())


def _opened(tag: re.Match[str]) -> str:
    """`<a/>` as `<a></a>`: in HTML the first would never end."""
    return tag[0] if _VOID.fullmatch(tag[1]) else f"<{tag[1]}{tag[2]}></{tag[1]}>"


def _root(archive: zipfile.ZipFile, name: str) -> Any:
    data = zip_member(archive, name)
    if data is None:
        raise AssetError(ErrorCode.CORRUPT, f"epub without {name}")
    return parse_xml(data)


def _attribute(root: Any, tag: str, name: str) -> str:
    found = next((element.get(name) for element in root.iter(f"{{*}}{tag}")), None)
    if not found:
        raise AssetError(ErrorCode.CORRUPT, f"epub without a {tag}")
    return str(found)


def _within(folder: str, href: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(urlsplit(href).path)))
