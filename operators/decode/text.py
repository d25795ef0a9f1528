"""Text in any encoding, and HTML, as chunks."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import BinaryIO

import charset_normalizer

from operators.decode.chunk import chunk
from operators.decode.html import html_text
from operators.decode.sniff import HTML, MediaType
from operators.model.contract import TextCounter
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

BLOCK_BYTES = 1 << 20
HTML_BYTES = 64 << 20
"""A page is parsed as a whole, at about ten times its size in memory; text has no such limit."""

_SAMPLE_BYTES = 1 << 16
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_COMMON = ("cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257")
"""In the order of their use on the web, which decides where the letters do not."""
_AS_LIKELY = 0.1
_META = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([-\w:.]+)", re.IGNORECASE)


def decode_text(
    file: BinaryIO, recipe: Recipe, card: ModelCard, counter: TextCounter, media: MediaType
) -> Iterator[Segment]:
    """Chunks of the recipe's tokens within the model's limit; locators count characters of the decoded text.

    Of HTML the text is the extracted one. Plain text is streamed: memory does not grow with the file.

    Raises:
        AssetError: EMPTY without anything but spaces, CORRUPT where no encoding fits, LIMIT for HTML over
            `HTML_BYTES`.
    """
    budget = min(recipe.text.chunk_tokens, card.limits.text_tokens)
    blocks = iter([html_text(_page(file))]) if media.mime == HTML else _blocks(file, encoding(file))
    empty = True
    for piece in chunk(blocks, counter, budget, recipe.text.overlap_tokens):
        empty = False
        locator = Locator(char_start=piece.start, char_end=piece.end)
        yield Segment(Modality.TEXT, (Part(PartKind.TEXT, piece.text),), locator, piece.text)
    if empty:
        raise AssetError(ErrorCode.EMPTY, "no text but spaces")


def encoding(file: BinaryIO) -> str:
    """The codec of a text file: its byte order mark's, UTF-8 where that fits, else the likeliest one.

    UTF-8 with a few damaged bytes stays UTF-8: they are read as U+FFFD.

    Raises:
        AssetError: CORRUPT where no encoding fits.
    """
    file.seek(0)
    head = file.read(4)
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    sample = _first_beyond_utf8(file)
    if sample is None or _mostly_utf8(sample):
        return "utf-8"
    matches = charset_normalizer.from_bytes(sample)
    best = matches.best()
    if best is None:
        raise AssetError(ErrorCode.CORRUPT, "text in no encoding that is known")
    # French fits cp1250 as cleanly as cp1252, with other letters.
    near = [m for m in matches if m.chaos <= best.chaos and m.coherence >= best.coherence - _AS_LIKELY]
    names = {name for m in near for name in (m.encoding, *(s.encoding for s in m.submatch))}
    return next((name for name in _COMMON if name in names), str(best.encoding))


def _first_beyond_utf8(file: BinaryIO) -> bytes | None:
    """Bytes around the first that is not UTF-8; None when all are."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    at = 0
    while True:
        block = file.read(BLOCK_BYTES)
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            file.seek(max(0, at + error.start - _SAMPLE_BYTES // 2))
            return file.read(_SAMPLE_BYTES)
        if not block:
            return None
        at += len(block)


def _mostly_utf8(sample: bytes) -> bool:
    # Well-formed sequences of several bytes hardly ever occur by chance in another encoding.
    text = sample.decode("utf-8", "replace")
    broken = text.count("\N{REPLACEMENT CHARACTER}")
    return sum(c > "\x7f" for c in text) - broken > broken


def _blocks(file: BinaryIO, codec: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(codec)("replace")
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)


def _page(file: BinaryIO) -> str:
    file.seek(0)
    body = file.read(HTML_BYTES + 1)
    if len(body) > HTML_BYTES:
        raise AssetError(ErrorCode.LIMIT, f"HTML of more than {HTML_BYTES} bytes is not parsed")
    codec = encoding(file)
    declared = _META.search(body[:4096])
    if codec not in ("utf-8", *(name for _, name in _BOMS)) and declared:
        try:
            return body.decode(declared[1].decode("ascii"), "replace")
        except LookupError:
            pass
    return body.decode(codec, "replace")
