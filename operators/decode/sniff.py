"""What an asset is: by its first bytes, and by its name only where those do not decide.

The table is exact instead of a guessing library: several formats share a first signature (ISO media, Ogg,
Matroska, RIFF), and what decides between them lies deeper in the head than such libraries look.
"""

from __future__ import annotations

import codecs
import mimetypes
import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode

HEAD_BYTES = 1 << 16
"""How much of an asset `sniff` wants to see."""

HTML = "text/html"
DOCUMENT = "application/vnd.embedlake.document+json"

_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\v\f\r\b\x1b\x1a") | {127})
_SPARSE = 200
"""Text, a log say, may hold one control byte in this many."""


@dataclass(frozen=True, slots=True)
class MediaType:
    """A MIME type and the modality whose decoder reads it; HTML is `TEXT`, a PDF is `PAGE`."""

    mime: str
    modality: Modality


_SIGNATURES = tuple(
    (re.compile(pattern, re.DOTALL), MediaType(mime, modality))
    for pattern, mime, modality in (
        (rb"\xff\xd8\xff", "image/jpeg", Modality.IMAGE),
        (rb"\x89PNG\r\n\x1a\n", "image/png", Modality.IMAGE),
        (rb"GIF8[79]a", "image/gif", Modality.IMAGE),
        (rb"RIFF....WEBP", "image/webp", Modality.IMAGE),
        (rb"II[*+]\x00|MM\x00[*+]", "image/tiff", Modality.IMAGE),
        (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00", "image/bmp", Modality.IMAGE),
        (rb"\x00\x00\x00\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51\x00", "image/jp2", Modality.IMAGE),
        (rb"\x00\x00\x01\x00.\x00.{3}\x00", "image/vnd.microsoft.icon", Modality.IMAGE),
        (rb"P[4-6]\s(?:#[^\n]*\n|\s)*\d+\s", "image/x-portable-anymap", Modality.IMAGE),
        (rb"qoif.{8}[\x03\x04][\x00\x01]", "image/qoi", Modality.IMAGE),
        (rb"(?:RIFF|RF64|BW64)....WAVE", "audio/wav", Modality.AUDIO),
        (rb"fLaC[\x00\x80]", "audio/flac", Modality.AUDIO),
        (rb"FORM....AIF[FC]", "audio/aiff", Modality.AUDIO),
        (rb"#!AMR", "audio/amr", Modality.AUDIO),
        (rb"\.snd\x00\x00", "audio/basic", Modality.AUDIO),
        (rb"caff\x00\x01", "audio/x-caf", Modality.AUDIO),
        (rb"wvpk", "audio/x-wavpack", Modality.AUDIO),
        (rb"MAC .\x0f", "audio/x-ape", Modality.AUDIO),
        (rb"\x0b\x77", "audio/ac3", Modality.AUDIO),
        (rb"ID3[\x02-\x04].{6}", "audio/mpeg", Modality.AUDIO),
        (rb"\xff[\xf0\xf1\xf8\xf9][\x00-\xbf]", "audio/aac", Modality.AUDIO),
        (rb"\xff[\xe2-\xe7\xf2-\xf7\xfa-\xff][\x10-\xef]", "audio/mpeg", Modality.AUDIO),
        (rb"RIFF....AVI |RIFF....AVIX", "video/x-msvideo", Modality.VIDEO),
        (rb"FLV\x01", "video/x-flv", Modality.VIDEO),
        (rb"\x00\x00\x01[\xba\xb3]", "video/mpeg", Modality.VIDEO),
        (rb"\x47.{187}\x47.{187}\x47|.{4}\x47.{191}\x47.{191}\x47", "video/mp2t", Modality.VIDEO),
        (rb"\x06\x0e\x2b\x34\x02\x05\x01\x01", "application/mxf", Modality.VIDEO),
        (rb".{0,1019}%PDF-\d", "application/pdf", Modality.PAGE),
    )
)

_UNREADABLE = (
    (b"PK\3\4", "a ZIP archive (also docx, xlsx, pptx, epub)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an OLE2 file (doc, xls, ppt, msg)"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "an ELF program"),
    (b"MZ", "a Windows program"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow IPC"),
    (b"\x89HDF\r\n", "HDF5"),
    (b"8BPS", "a Photoshop file"),
    (b"\0\0\0\0", "zeros"),
)

_ISO_IMAGES = {b"avif": "avif", b"avis": "avif"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "heic"
)
_ISO_AUDIO = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "})
_OGG_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_OGG_VIDEO = (b"\x80theora", b"BBCD\0", b"\x01video\0", b"OVP80")
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_BY_NAME = {".m4b": "audio/mp4", ".m4a": "audio/mp4", ".md": "text/markdown", ".jsonl": "application/jsonl"}
_HANDLER = re.compile(rb"hdlr.{8}(vide|soun)", re.DOTALL)
_MARKUP = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?>(?:<!--.*?-->\s*)*)<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_PARTS_LIST = re.compile(r"\s*:\s*\[")
# The built-in table alone: what the host's /etc/mime.types says must not change what is embedded.
_TYPES = mimetypes.MimeTypes(filenames=())


def sniff(head: bytes, name: str) -> MediaType:
    """The media type of an asset, from its first `HEAD_BYTES` and its name or URI.

    A JSON object with a list `parts` at its top level, begun within the head, is an interleaved document.

    Raises:
        AssetError: UNSUPPORTED for bytes that nothing here reads; the detail names them.
    """
    if not head.startswith(_BOMS):
        media = _container(head, name) or next((m for p, m in _SIGNATURES if p.match(head)), None)
        if media is not None:
            return media
    if not any(head.startswith(magic) and not _is_text(head) for magic, _ in _UNREADABLE):
        media = _text(head, name) if _is_text(head) else _named(name)
        if media is not None:
            return media
    found = next((what for magic, what in _UNREADABLE if head.startswith(magic)), "binary")
    raise AssetError(
        ErrorCode.UNSUPPORTED, f"{found} (first bytes {head[:8].hex(' ')}): nothing here reads it"
    )


def _container(head: bytes, name: str) -> MediaType | None:
    """Formats whose signature is shared by several media."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide") and b"\0" in head[:4]:
        return _iso(head, name)
    if head.startswith(b"OggS\0"):
        if any(magic in head for magic in _OGG_VIDEO):
            return MediaType("video/ogg", Modality.VIDEO)
        known = any(magic in head for magic in _OGG_AUDIO)
        named = _suffix(name) in (".ogv", ".ogm") and not known
        return MediaType("video/ogg", Modality.VIDEO) if named else MediaType("audio/ogg", Modality.AUDIO)
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        kind = "webm" if b"webm" in head[:64] else "x-matroska"
        silent = b"V_" not in head and (b"A_" in head or _suffix(name) in (".mka", ".weba"))
        return (
            MediaType(f"audio/{kind}", Modality.AUDIO)
            if silent
            else MediaType(f"video/{kind}", Modality.VIDEO)
        )
    if head.startswith(_ASF):
        sound = _suffix(name) == ".wma"
        return (
            MediaType("audio/x-ms-wma", Modality.AUDIO)
            if sound
            else MediaType("video/x-ms-asf", Modality.VIDEO)
        )
    return None


def _iso(head: bytes, name: str) -> MediaType:
    """ISO base media by its brands, then by its tracks where the head holds them all, then by its name."""
    brands: list[bytes] = []
    if head[4:8] == b"ftyp":
        box = head[: max(16, int.from_bytes(head[:4], "big"))]
        brands = [box[8:12], *(box[at : at + 4] for at in range(16, len(box) - 3, 4))]
        kinds = [_ISO_IMAGES[brand] for brand in brands if brand in _ISO_IMAGES]
        if brands[0] in _ISO_IMAGES and kinds:
            return MediaType(f"image/{'avif' if 'avif' in kinds else 'heic'}", Modality.IMAGE)
        if brands[0] in _ISO_AUDIO:
            return MediaType("audio/mp4", Modality.AUDIO)
    at = head.find(b"moov")
    if at >= 4 and at - 4 + int.from_bytes(head[at - 4 : at], "big") <= len(head):
        if set(_HANDLER.findall(head, at)) == {b"soun"}:
            return MediaType("audio/mp4", Modality.AUDIO)
    elif _suffix(name) in (".m4a", ".m4b"):
        return MediaType("audio/mp4", Modality.AUDIO)
    movie = not brands or brands[0] == b"qt  "
    return MediaType("video/quicktime" if movie else "video/mp4", Modality.VIDEO)


def _is_text(head: bytes) -> bool:
    if head.startswith(_BOMS):
        return True
    # Compressed or random bytes hold one control byte in ten, text of any encoding hardly any.
    return (len(head) - len(head.translate(None, _CONTROLS))) * _SPARSE <= len(head)


def _text(head: bytes, name: str) -> MediaType:
    if _MARKUP.match(head.removeprefix(codecs.BOM_UTF8)):
        return MediaType(HTML, Modality.TEXT)
    suffix = _suffix(name)
    if suffix not in (".jsonl", ".ndjson") and _has_parts(head.decode("utf-8-sig", "replace")):
        return MediaType(DOCUMENT, Modality.DOCUMENT)
    mime = _BY_NAME.get(suffix) or _TYPES.guess_type(f"name{suffix}")[0] or "text/plain"
    if mime == "application/xhtml+xml":
        mime = HTML
    readable = mime.startswith("text/") or mime.endswith(
        ("json", "jsonl", "xml", "javascript", "x-sh", "x-tex")
    )
    return MediaType(mime if readable else "text/plain", Modality.TEXT)


def _has_parts(text: str) -> bool:
    """Whether a JSON object has a list `parts` at its top level, as far as the text goes."""
    if not text.lstrip().startswith("{"):
        return False
    depth = 0
    for token in _JSON_TOKEN.finditer(text):
        found = token.group()
        if found in ("{", "["):
            depth += 1
        elif found in ("}", "]"):
            depth -= 1
            if depth == 0:
                return False
        elif depth == 1 and found == '"parts"' and _PARTS_LIST.match(text, token.end()):
            return True
    return False


def _named(name: str) -> MediaType | None:
    """Bytes that no signature knows, such as a TGA or a damaged head: their decoder says what is wrong."""
    mime = _TYPES.guess_type(f"name{_suffix(name)}")[0] or ""
    if _suffix(name) == ".tga":
        mime = "image/x-tga"
    if mime == "application/pdf":
        return MediaType(mime, Modality.PAGE)
    modality = {"image": Modality.IMAGE, "audio": Modality.AUDIO, "video": Modality.VIDEO}.get(
        mime.split("/")[0]
    )
    return None if modality is None else MediaType(mime, modality)


def _suffix(name: str) -> str:
    return PurePosixPath(urlsplit(name).path).suffix.lower()
