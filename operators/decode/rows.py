"""Rows of CSV, TSV and JSON Lines as text by the recipe's template, streamed: memory does not grow with the file."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from operators.decode.asset import Asset
from operators.decode.chunk import chunk, whole_characters
from operators.decode.sniff import TSV
from operators.decode.text import encoding, text_blocks
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import RowsRecipe

Row = Mapping[str, Any]

_DELIMITERS = ",;\t|"
_SAMPLE_LINES = 20
_MOST_ABOVE = 5
_WAY_OUT = "take out the lines above the header, or quote the cells that hold the delimiter"
_SEPARATOR_LINE = re.compile(r"sep=(.)\s*", re.IGNORECASE)
_LINE_END = re.compile(r"\r?\n|\r")
_LINE_FACTOR = 6
"""Characters of a line for one of its row: JSON escapes one as six."""


def decode_delimited(asset: Asset) -> Iterator[Segment]:
    """Rows of a CSV or TSV; the delimiter is the one that cuts the first lines evenly.

    A title above the header, lines without a delimiter, goes before the first row's text.

    Raises:
        AssetError: CORRUPT (naming the line) for unbalanced quotes or rows of more or fewer cells than columns,
            LIMIT for a row over `max_chars`, INVALID_DOCUMENT when the template wants a column that is missing,
            EMPTY without rows.
    """
    return row_segments(_delimited(asset), asset)


def decode_json_lines(asset: Asset) -> Iterator[Segment]:
    """Rows of a JSON Lines file: objects by their keys, anything else as it stands.

    Raises:
        AssetError: CORRUPT naming a line that is no JSON, else as `decode_delimited`.
    """
    return row_segments(_json_rows(asset), asset)


def row_segments(rows: Iterable[Row], asset: Asset) -> Iterator[Segment]:
    """One segment for each `per_segment` rows; rows over the budget are chunked. Rows without text give none.

    Locators count rows of data from 0; `char_start` and `char_end` are those of a chunk in the rows' text, given
    only where that had to be cut.

    Raises:
        AssetError: LIMIT for a row over `max_chars`, EMPTY without rows.
    """
    layout = asset.recipe.rows
    numbered = enumerate(rows)
    empty = True
    while group := list(islice(numbered, layout.per_segment)):
        text = "\n\n".join(filter(None, (_checked(row_text(row, layout), n, layout) for n, row in group)))
        pieces = chunk([text], asset.counter, asset.text_budget, asset.recipe.text.overlap_tokens)
        start, end = group[0][0], group[-1][0] + 1
        cut: tuple[int, int] | None = None
        for piece in pieces:
            empty = False
            if piece.end < len(text.rstrip()) or piece.start > 0 or cut:
                cut = (piece.start, piece.end)
            first, last = cut or (None, None)
            where = Locator(char_start=first, char_end=last, row_start=start, row_end=end)
            yield Segment(Modality.TEXT, (Part(PartKind.TEXT, piece.text),), where, piece.text)
    if empty:
        raise AssetError(ErrorCode.EMPTY, f"{asset.media.mime} without a row that has text")


def row_text(row: Row, layout: RowsRecipe) -> str:
    """A row by the template, or a line `column: value` for each value that it has."""
    if layout.template is not None:
        values = {name: _shown(row.get(name)) for name in layout.columns or ()}
        return whole_characters(layout.template.format_map(values).strip())
    shown = ((name, _shown(value)) for name, value in row.items())
    return whole_characters(
        "\n".join(f"{name}: {value}" if name else value for name, value in shown if value)
    )


def check_columns(columns: Iterable[str], layout: RowsRecipe) -> None:
    """Refuse a file that lacks a column of the template.

    Raises:
        AssetError: INVALID_DOCUMENT naming both.
    """
    have = list(columns)
    missing = [name for name in layout.columns or () if name not in have]
    if missing:
        detail = (
            f"the recipe's row template wants column '{missing[0]}'; the file has {', '.join(have)[:300]}"
        )
        raise AssetError(ErrorCode.INVALID_DOCUMENT, detail)


def _checked(text: str, number: int, layout: RowsRecipe) -> str:
    if len(text) > layout.max_chars:
        detail = f"row {number} has {len(text)} characters, the recipe allows {layout.max_chars}"
        raise AssetError(ErrorCode.LIMIT, detail)
    return text


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bytes):
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, dict | list | bool | int | float):
        return json.dumps(value, ensure_ascii=False, default=lambda v: "" if isinstance(v, bytes) else str(v))
    return str(value)


def _delimited(asset: Asset) -> Iterator[Row]:
    layout = asset.recipe.rows
    lines = _lines(asset)
    sample = list(islice(lines, _SAMPLE_LINES))
    marked = _SEPARATOR_LINE.fullmatch(sample[0]) if sample else None
    if marked:
        sample.pop(0)
    known = "\t" if asset.media.mime == TSV else marked[1] if marked else None
    above = _lines_above(sample, known) if layout.header else 0
    title = {"": " ".join(" ".join(sample[:above]).split())} if above else {}
    sample = sample[above:]
    delimiter = known or _delimiter(sample)
    # A process-wide setting of the csv module; every caller here sets it before it reads.
    csv.field_size_limit(layout.max_chars)
    reader = csv.reader(chain(sample, lines), delimiter=delimiter, strict=True)
    columns: list[str] | None = None
    try:
        for cells in reader:
            if not cells:
                continue
            if columns is None:
                columns = _columns(cells, layout)
                check_columns(columns, layout)
                if layout.header:
                    continue
            if len(cells) != len(columns):
                line = reader.line_num + above + bool(marked)
                detail = f"line {line} has {len(cells)} cells, the first row {len(columns)}; {_WAY_OUT}"
                raise AssetError(ErrorCode.CORRUPT, detail)
            yield {**title, **dict(zip(columns, cells, strict=True))}
            title = {}
    except csv.Error as error:
        code = ErrorCode.LIMIT if "larger than field limit" in str(error) else ErrorCode.CORRUPT
        line = reader.line_num + above + bool(marked)
        raise AssetError(code, f"line {line}: {error}") from error


def _lines_above(sample: list[str], delimiter: str | None) -> int:
    """How many lines go before the header: a title, blank lines, none of them with a delimiter of the rows."""
    for above in range(min(_MOST_ABOVE, len(sample) - 2) + 1):
        cut = delimiter or _delimiter(sample[above:])
        even, cells = _evenness(sample[above:], cut)
        if even and cells > 1:
            return above if not any(cut in line for line in sample[:above]) else 0
    return 0


def _columns(cells: list[str], layout: RowsRecipe) -> list[str]:
    """Distinct names of the columns: those of the header, else the numbers from 1."""
    named: dict[str, None] = {}
    for number, cell in enumerate(cells, 1):
        base = (" ".join(cell.split()) if layout.header else "") or str(number)
        name, again = base, 2
        while name in named:
            name, again = f"{base} ({again})", again + 1
        named[name] = None
    return list(named)


def _delimiter(sample: list[str]) -> str:
    """The one that cuts the sampled lines into the same number of cells, the more the better; else a comma."""

    best = max(_DELIMITERS, key=lambda delimiter: _evenness(sample, delimiter))
    return best if _evenness(sample, best)[1] > 1 else ","


def _evenness(sample: list[str], delimiter: str) -> tuple[bool, int]:
    """Whether a delimiter cuts all lines into as many cells, and how many at least."""
    try:
        # The sample's last line may be cut within a quoted cell.
        counts = [len(cells) for cells in csv.reader(sample, delimiter=delimiter) if cells][
            : _SAMPLE_LINES - 1
        ]
    except csv.Error:
        return False, 0
    return len(set(counts)) == 1, min(counts, default=0)


def _json_rows(asset: Asset) -> Iterator[Row]:
    for number, line in enumerate(_lines(asset), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise AssetError(ErrorCode.CORRUPT, f"line {number} is not JSON: {error}") from error
        if isinstance(value, dict):
            yield value
            continue
        check_columns((), asset.recipe.rows)
        yield {"": value}


def _lines(asset: Asset) -> Iterator[str]:
    """The lines of the text with their ends, none longer than a row may be.

    Raises:
        AssetError: LIMIT naming the line.
    """
    most = asset.recipe.rows.max_chars * _LINE_FACTOR
    held, number, end = "", 0, None
    for block in text_blocks(asset.file, encoding(asset.file)):
        held += block
        if end is None:
            first = _LINE_END.search(held)
            end = first[0][-1] if first else "\n"
        at = 0
        while (cut := held.find(end, at)) >= 0:
            number += 1
            yield _short(held[at:cut], number, most) + "\n"
            at = cut + 1
        held = _short(held[at:], number + 1, most)
    if held:
        yield held


def _short(line: str, number: int, most: int) -> str:
    if len(line) > most:
        raise AssetError(ErrorCode.LIMIT, f"line {number} is longer than {most} characters")
    return line
