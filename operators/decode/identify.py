"""What a file is, where the first bytes are those of a wrapper: an office file's zip, OLE2, a compressed file."""

from __future__ import annotations

import re
from typing import BinaryIO

from operators.compressed import compression
from operators.decode.sniff import HEAD_BYTES, MediaType, path_of, sniff
from operators.decode.unpack import open_zip, unpacked, zip_member
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import UnpackRecipe

_OOXML = "application/vnd.openxmlformats-officedocument"
DOCX, PPTX, XLSX = (
    f"{_OOXML}.{kind}"
    for kind in ("wordprocessingml.document", "presentationml.presentation", "spreadsheetml.sheet")
)
EPUB = "application/epub+zip"
ODT, ODP, ODS = (
    f"application/vnd.oasis.opendocument.{kind}" for kind in ("text", "presentation", "spreadsheet")
)
XLS = "application/vnd.ms-excel"

_ZIP = b"PK\3\4"
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OFFICE_PARTS = (("word/", DOCX), ("ppt/", PPTX), ("xl/", XLSX))
_OF_MIMETYPE = {mime.encode(): mime for mime in (EPUB, ODT, ODP, ODS)}
_OLE_STREAMS = (
    ("EncryptedPackage", ErrorCode.ENCRYPTED, "the office file asks for a password"),
    ("WordDocument", ErrorCode.UNSUPPORTED, "a Word 97-2003 document; save it as .docx or PDF"),
    ("PowerPoint Document", ErrorCode.UNSUPPORTED, "PowerPoint 97-2003 slides; save them as .pptx or PDF"),
    ("__properties_version1.0", ErrorCode.UNSUPPORTED, "an Outlook message; export it as .eml"),
)
_PACKED_SUFFIX = re.compile(r"\.(?:gz|gzip|bz2|xz|zst|zstd)$", re.IGNORECASE)
_PACKED_NAMES = (
    (re.compile(r"\.svgz$", re.IGNORECASE), ".svg"),
    (re.compile(r"\.t(?:gz|bz2|xz|zst)$", re.IGNORECASE), ".tar"),
)


def identify(file: BinaryIO, name: str, limits: UnpackRecipe) -> tuple[MediaType, BinaryIO, str]:
    """The media type of a seekable file, and the file and the name to decode: of a compressed file what it holds.

    Raises:
        AssetError: EMPTY without bytes, UNSUPPORTED, ENCRYPTED, CORRUPT or LIMIT of a wrapper.
    """
    head = _head(file)
    if not head:
        raise AssetError(ErrorCode.EMPTY, "the file has no bytes")
    kind = compression(head)
    if kind is None:
        return _media(file, head, name, limits), file, name
    inner, inner_name = unpacked(file, kind, limits), _without_suffix(name)
    try:
        head = _head(inner)
        if not head:
            raise AssetError(ErrorCode.EMPTY, f"{kind} of no bytes")
        if compression(head) is not None:
            raise AssetError(ErrorCode.UNSUPPORTED, f"{kind} within {compression(head)}: unpack it once")
        return _media(inner, head, inner_name, limits), inner, inner_name
    except BaseException:
        inner.close()
        raise


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(HEAD_BYTES)


def _media(file: BinaryIO, head: bytes, name: str, limits: UnpackRecipe) -> MediaType:
    if head.startswith(_ZIP) and (media := _office(file, limits)) is not None:
        return media
    if head.startswith(_OLE):
        return _ole(file, head)
    return sniff(head, name)


def _office(file: BinaryIO, limits: UnpackRecipe) -> MediaType | None:
    """An office file by its zip's members; None for any other zip."""
    with open_zip(file, limits) as archive:
        names = archive.namelist()
        if "[Content_Types].xml" in names:
            mime = next(
                (mime for part, mime in _OFFICE_PARTS if any(n.startswith(part) for n in names)), None
            )
            return None if mime is None else MediaType(mime, Modality.TEXT)
        if "mimetype" in names and archive.getinfo("mimetype").file_size < 256:
            mime = _OF_MIMETYPE.get(
                (zip_member(archive, "mimetype") or b"").strip().removesuffix(b"-template")
            )
            return None if mime is None else MediaType(mime, Modality.TEXT)
    return None


def _ole(file: BinaryIO, head: bytes) -> MediaType:
    """An OLE2 file by the names at the start of its directory."""
    sector = 1 << min(int.from_bytes(head[30:32], "little"), 16)
    file.seek((int.from_bytes(head[48:52], "little") + 1) * sector)
    directory = file.read(HEAD_BYTES)
    for stream, code, detail in _OLE_STREAMS:
        if stream.encode("utf-16-le") in directory:
            raise AssetError(code, detail)
    if any(name.encode("utf-16-le") in directory for name in ("Workbook", "Book")):
        return MediaType(XLS, Modality.TEXT)
    raise AssetError(ErrorCode.UNSUPPORTED, "an OLE2 file of no kind that is read here (doc, ppt, msg, ...)")


def _without_suffix(name: str) -> str:
    name = path_of(name)
    for pattern, suffix in _PACKED_NAMES:
        if pattern.search(name):
            return pattern.sub(suffix, name, count=1)
    return _PACKED_SUFFIX.sub("", name, count=1)
