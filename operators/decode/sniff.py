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
MARKDOWN = "text/markdown"
CSV, TSV, JSON_LINES = "text/csv", "text/tab-separated-values", "application/jsonl"
PARQUET = "application/vnd.apache.parquet"
ARROW_FILE, ARROW_STREAM = "application/vnd.apache.arrow.file", "application/vnd.apache.arrow.stream"
RTF = "application/rtf"
VTT, SUBRIP = "text/vtt", "application/x-subrip"
MAIL, MBOX = "message/rfc822", "application/mbox"
NOTEBOOK = "application/x-ipynb+json"

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
        (rb"PAR[1E][\x00-\x1f]", PARQUET, Modality.TEXT),
        (rb"ARROW1\x00\x00", ARROW_FILE, Modality.TEXT),
        (rb"\xff\xff\xff\xff.{3}\x00[\x04-\x20]\x00\x00\x00", ARROW_STREAM, Modality.TEXT),
        (rb"\{\\rtf\d?[\\\s]", RTF, Modality.TEXT),
        (rb"(?:\xef\xbb\xbf)?WEBVTT[\s]", VTT, Modality.TEXT),
        (
            rb"(?:\xef\xbb\xbf)?\s*\d+[ \t]*\r?\n\s*\d+:\d\d:\d\d[,.]\d{1,3}[ \t]+-->",
            SUBRIP,
            Modality.TEXT,
        ),
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
    (b"FEA1", "Feather of the first version; write it as Arrow IPC or Parquet"),
    (b"\x89HDF\r\n", "HDF5"),
    (b"8BPS", "a Photoshop file"),
    (b"\xff\x0a", "JPEG XL, which no permissively licensed decoder here reads"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL, which no permissively licensed decoder here reads"),
    (b"\0\0\0\0", "zeros"),
)

_ISO_IMAGES = {b"avif": "avif", b"avis": "avif"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"), "heic"
)
_ISO_AUDIO = frozenset({b"M4A ", b"M4B ", b"M4P ", b"F4A ", b"F4B "})
_OGG_AUDIO = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_OGG_VIDEO = (b"\x80theora", b"BBCD\0", b"\x01video\0", b"OVP80")
_ASF = b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_TEXT_BY_NAME = {
    **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd"), MARKDOWN),
    **dict.fromkeys((".jsonl", ".ndjson", ".jsonlines"), JSON_LINES),
    **dict.fromkeys((".tsv", ".tab"), TSV),
    **dict.fromkeys((".py", ".pyi"), "text/x-python"),
    **dict.fromkeys((".js", ".mjs", ".cjs", ".jsx"), "text/javascript"),
    **dict.fromkeys((".ts", ".mts", ".cts"), "text/x-typescript"),
    **dict.fromkeys((".cc", ".cpp", ".cxx", ".h", ".hh", ".hpp", ".hxx"), "text/x-c++"),
    **dict.fromkeys((".sh", ".bash"), "application/x-sh"),
    **dict.fromkeys((".kt", ".kts"), "text/x-kotlin"),
    ".csv": CSV,
    ".ipynb": NOTEBOOK,
    ".tsx": "text/x-tsx",
    ".c": "text/x-c",
    ".cs": "text/x-csharp",
    ".go": "text/x-go",
    ".java": "text/x-java",
    ".php": "text/x-php",
    ".rb": "text/x-ruby",
    ".rs": "text/x-rust",
    ".scala": "text/x-scala",
    ".swift": "text/x-swift",
}
CODE = frozenset(
    mime
    for mime in _TEXT_BY_NAME.values()
    if mime.startswith("text/x-") or mime in ("text/javascript", "application/x-sh")
)
"""Source code that is cut by its definitions."""
_HEADER = re.compile(rb"([A-Za-z][A-Za-z0-9-]{0,63})[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*")
_SENDER = frozenset({b"from", b"sender", b"return-path"})
_OF_MAIL = frozenset({b"received", b"message-id", b"mime-version", b"delivered-to"})
_HANDLER = re.compile(rb"hdlr.{8}(vide|soun)", re.DOTALL)
# Atomic: a hostile head of comments would otherwise be tried in every way of joining them.
_PROLOGUE = rb"(?>\s+|<\?.*?\?>|<!--.*?-->)*+"
_MARKUP = re.compile(_PROLOGUE + rb"<(?:!doctype\s+html|html|head|body)\b", re.I | re.S)
_DOCTYPE = rb"<!DOCTYPE\s+(?:\w+:)?svg\b[^\[>]*(?:\[[^\]]*\]\s*)?>"
_SVG = re.compile(_PROLOGUE + rb"(?:" + _DOCTYPE + _PROLOGUE + rb")?<(?:\w+:)?svg[\s>/]", re.S)
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
    if not head.startswith(_BOMS) or head.startswith(codecs.BOM_UTF8):
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


def is_drawing(head: bytes) -> bool:
    """Whether the first bytes are those of an SVG."""
    return _SVG.match(head.removeprefix(codecs.BOM_UTF8)) is not None


def is_heif(head: bytes) -> bool:
    """Whether the first bytes are those of a HEIF picture other than AVIF."""
    return head[4:8] == b"ftyp" and _iso(head, "").mime == "image/heic"


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


def bare_utf16(head: bytes) -> str | None:
    """The codec of UTF-16 without a byte order mark, told by the zero bytes of its ASCII; None for other bytes."""
    sample = head[: len(head) // 2 * 2]
    pairs = len(sample) // 2
    high, low = sample[::2].count(0), sample[1::2].count(0)
    if not pairs or max(high, low) * 10 < pairs or min(high, low) * 50 > pairs:
        return None
    codec = "utf-16-be" if high > low else "utf-16-le"
    try:
        text = codecs.getincrementaldecoder(codec)().decode(sample)
    except UnicodeDecodeError:
        return None
    odd = sum(not c.isprintable() and not c.isspace() for c in text[:4096])
    return codec if odd * _SPARSE <= len(text[:4096]) else None


def _is_text(head: bytes) -> bool:
    if head.startswith(_BOMS) or bare_utf16(head) is not None:
        return True
    # Compressed or random bytes hold one control byte in ten, text of any encoding hardly any.
    return (len(head) - len(head.translate(None, _CONTROLS))) * _SPARSE <= len(head)


def _text(head: bytes, name: str) -> MediaType:
    if _MARKUP.match(head.removeprefix(codecs.BOM_UTF8)):
        return MediaType(HTML, Modality.TEXT)
    if is_drawing(head):
        return MediaType("image/svg+xml", Modality.IMAGE)
    suffix = _suffix(name)
    named = _TEXT_BY_NAME.get(suffix)
    if named != JSON_LINES and _has_parts(head.decode("utf-8-sig", "replace")):
        return MediaType(DOCUMENT, Modality.DOCUMENT)
    if named is not None:
        return MediaType(named, Modality.TEXT)
    if mail := _mail(head, suffix):
        return MediaType(mail, Modality.TEXT)
    mime = _TYPES.guess_type(f"name{suffix}")[0] or "text/plain"
    if mime == "application/xhtml+xml":
        mime = HTML
    readable = mime.startswith("text/") or mime.endswith(
        ("json", "jsonl", "xml", "javascript", "x-sh", "x-tex")
    )
    return MediaType(mime if readable else "text/plain", Modality.TEXT)


def _mail(head: bytes, suffix: str) -> str | None:
    """Header fields of mail at the very start; a name of mail makes the commonest ones enough."""
    many = head.startswith(b"From ")
    at = head.find(b"\n") + 1 if many else 0
    seen = set()
    while field := _HEADER.match(head, at):
        seen.add(field[1].lower())
        at = field.end()
    of_mail = seen & _OF_MAIL or (suffix in (".eml", ".mbox", ".mht", ".mhtml") and seen)
    return (MBOX if many else MAIL) if seen & _SENDER and of_mail else None


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


def path_of(name: str) -> str:
    """The path of a URI or file name: `#` and `?` end it on the web alone, elsewhere they are characters."""
    return urlsplit(name).path if name.lower().startswith(("http://", "https://")) else name


def _suffix(name: str) -> str:
    return PurePosixPath(path_of(name)).suffix.lower()
