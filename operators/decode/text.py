"""Text in any encoding, as chunks."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

import charset_normalizer

from operators.decode.asset import Asset
from operators.decode.chunk import chunk
from operators.decode.sniff import bare_utf16
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode

BLOCK_BYTES = 1 << 20
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


def decode_text(asset: Asset) -> Iterator[Segment]:
    """Chunks of the recipe's tokens within the model's limit; locators count characters of the decoded text.

    It is streamed: memory does not grow with the file.

    Raises:
        AssetError: EMPTY without anything but spaces, CORRUPT where no encoding fits.
    """
    blocks = text_blocks(asset.file, encoding(asset.file))
    empty = True
    for piece in chunk(blocks, asset.counter, asset.text_budget, asset.recipe.text.overlap_tokens):
        empty = False
        locator = Locator(char_start=piece.start, char_end=piece.end)
        yield Segment(Modality.TEXT, (Part(PartKind.TEXT, piece.text),), locator, piece.text)
    if empty:
        raise AssetError(ErrorCode.EMPTY, "no text but spaces")


def encoding(file: BinaryIO) -> str:
    """The codec of a text file: its byte order mark's, UTF-16 or UTF-8 where they fit, else the likeliest one.

    UTF-8 with a few damaged bytes stays UTF-8: they are read as U+FFFD.

    Raises:
        AssetError: CORRUPT where no encoding fits.
    """
    file.seek(0)
    head = file.read(_SAMPLE_BYTES)
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    if (wide := bare_utf16(head)) is not None:
        return wide
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


def with_mark(codec: str) -> bool:
    """Whether a file's byte order mark named its codec."""
    return codec in {name for _, name in _BOMS}


def text_blocks(file: BinaryIO, codec: str) -> Iterator[str]:
    """The text in portions of about a megabyte; damaged characters are U+FFFD."""
    decoder = codecs.getincrementaldecoder(codec)("replace")
    file.seek(0)
    while block := file.read(BLOCK_BYTES):
        yield decoder.decode(block)
    yield decoder.decode(b"", final=True)
