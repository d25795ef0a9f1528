"""What a PDF page says: its text in reading order, what its form's fields hold, and the notes that people left."""

from __future__ import annotations

import ctypes
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as pdfium_c

from operators.decode.reading_order import MOST_LINES, Boxes, merged, reading_order

MOST_CHARS = 1 << 18
"""Of a page's text; a page of a book holds 3,000."""

_MOST_NOTES = 4096
_SAMPLE = 16
_MOST_PIECES = 8 * MOST_LINES
_HYPHEN = re.compile("[\x02\ufffe]\\s*|\xad(?:\r?\n)?")
_HYPHENS = "\x02\ufffe\xad"
_UNSEEN = pdfium_c.FPDF_ANNOT_FLAG_HIDDEN | pdfium_c.FPDF_ANNOT_FLAG_NOVIEW
_WRITTEN = frozenset(
    {pdfium_c.FPDF_FORMFIELD_TEXTFIELD, pdfium_c.FPDF_FORMFIELD_COMBOBOX, pdfium_c.FPDF_FORMFIELD_LISTBOX}
)
_TICKED = frozenset({pdfium_c.FPDF_FORMFIELD_CHECKBOX, pdfium_c.FPDF_FORMFIELD_RADIOBUTTON})
_NOTES = frozenset(
    getattr(pdfium_c, f"FPDF_ANNOT_{name}")
    for name in (
        *("TEXT", "FREETEXT", "LINE", "SQUARE", "CIRCLE", "POLYGON", "POLYLINE", "HIGHLIGHT", "UNDERLINE"),
        *("SQUIGGLY", "STRIKEOUT", "STAMP", "CARET", "INK"),
    )
)


def page_text(page: pdfium.PdfPage) -> str:
    """The page's text, then a line for each filled field (`label: value`) and for each note; empty for a scan.

    One space between words, hyphenated words joined. Passwords and what is hidden are left out.
    """
    textpage = page.get_textpage()
    try:
        text = _ordered(textpage, textpage.get_text_bounded())
    finally:
        textpage.close()
    text = text[:MOST_CHARS]
    if any(mark in text for mark in _HYPHENS):
        text = _HYPHEN.sub("", text)
    said = "\n".join((text, *_notes(page))) if pdfium_c.FPDFPage_GetAnnotCount(page) > 0 else text
    lines = said[:MOST_CHARS].split("\n")
    return "\n".join(map(str.rstrip, lines)).replace("\0", "").strip()


def _ordered(textpage: pdfium.PdfTextPage, drawn: str) -> str:
    """The text as drawn, or line by line where people would read it in another order."""
    count = textpage.count_rects()
    if not 1 < count <= _MOST_PIECES:
        return drawn
    pieces = np.array([textpage.get_rect(i) for i in range(count)])
    turns, leftwards = _turns(textpage), _leftwards(drawn)
    starts = merged(_upright(pieces, turns, leftwards))
    lowest, highest = np.minimum.reduceat(pieces, starts), np.maximum.reduceat(pieces, starts)
    lines = np.concatenate([lowest[:, :2], highest[:, 2:]], axis=1)
    order = reading_order(_upright(lines, turns, leftwards))
    if order == list(range(len(lines))):
        return drawn
    return "\n".join(textpage.get_text_bounded(*lines[line]) for line in order)


def _turns(textpage: pdfium.PdfTextPage) -> int:
    """Quarter turns against the clock by which most of the text is drawn; what the page's own /Rotate undoes."""
    count = textpage.count_chars()
    sample = range(0, count, max(1, count // _SAMPLE))
    angles = (pdfium_c.FPDFText_GetCharAngle(textpage, index) for index in sample)
    # pdfium counts angles with the clock.
    counted = Counter(round(-float(angle) / (math.pi / 2)) % 4 for angle in angles)
    return counted.most_common(1)[0][0]


def _upright(boxes: Boxes, turns: int, leftwards: bool) -> Boxes:
    """The boxes with their text upright; for text from right to left, their mirror image."""
    left, bottom, right, top = boxes.T
    for _ in range(turns):
        left, bottom, right, top = bottom, -right, top, -left
    if leftwards:
        left, right = -right, -left
    return np.stack([left, bottom, right, top], axis=1)


def _leftwards(text: str) -> bool:
    if text.isascii():
        return False
    kinds = [unicodedata.bidirectional(c) for c in text[:400] if c.isalpha()]
    return sum(kind in ("R", "AL") for kind in kinds) * 2 > len(kinds)


def _notes(page: pdfium.PdfPage) -> Iterator[str]:
    """What fields and annotations say, in their order."""
    for index in range(min(pdfium_c.FPDFPage_GetAnnotCount(page), _MOST_NOTES)):
        note = pdfium_c.FPDFPage_GetAnnot(page, index)
        if not note:
            continue
        try:
            if not pdfium_c.FPDFAnnot_GetFlags(note) & _UNSEEN:
                yield from _note(page, note)
        finally:
            pdfium_c.FPDFPage_CloseAnnot(note)


def _note(page: pdfium.PdfPage, note: Any) -> Iterator[str]:
    kind = pdfium_c.FPDFAnnot_GetSubtype(note)
    if kind in _NOTES:
        said = _string(lambda *out: pdfium_c.FPDFAnnot_GetStringValue(note, b"Contents", *out))
    elif kind == pdfium_c.FPDF_ANNOT_WIDGET and page.formenv:
        said = _field(page.formenv, note)
    else:
        return
    if said.strip():
        yield said.replace("\r\n", "\n").replace("\r", "\n").strip()


def _field(form: pdfium.PdfFormEnv, field: Any) -> str:
    """`label: value` of a field that holds something, its value alone without a label for people."""
    kind = pdfium_c.FPDFAnnot_GetFormFieldType(form, field)
    label = _string(lambda *out: pdfium_c.FPDFAnnot_GetFormFieldAlternateName(form, field, *out)).strip()
    if kind in _TICKED:
        return label if pdfium_c.FPDFAnnot_IsChecked(form, field) else ""
    secret = pdfium_c.FPDFAnnot_GetFormFieldFlags(form, field) & pdfium_c.FPDF_FORMFLAG_TEXT_PASSWORD
    if kind not in _WRITTEN or (kind == pdfium_c.FPDF_FORMFIELD_TEXTFIELD and secret):
        return ""
    value = _string(lambda *out: pdfium_c.FPDFAnnot_GetFormFieldValue(form, field, *out)).strip()
    return f"{label}: {value}" if label and value else value


def _string(ask: Callable[[Any, int], int]) -> str:
    """A string of pdfium's, which tells its length in bytes first; the closing NUL left out."""
    size = min(ask(None, 0), 2 * MOST_CHARS)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size + size % 2)
    ask(ctypes.cast(buffer, ctypes.POINTER(pdfium_c.FPDF_WCHAR)), size)
    return buffer.raw[:size].decode("utf-16-le", errors="ignore").rstrip("\0")
