"""Spreadsheets: one text a sheet, its rows as lines; cells as they were last calculated."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

import openpyxl
import python_calamine

from operators.decode.asset import Asset
from operators.decode.office.writer import Writer
from operators.decode.office.xml import reported
from operators.decode.readable import Readable, readable_segments
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode

MOST_CELLS = 50_000_000
"""Of a sheet, the empty ones before others included: a few bytes can claim billions."""


def decode_xlsx(asset: Asset) -> Iterator[Segment]:
    """Chunks of the sheets of an Excel workbook, streamed; `page` is the sheet's number.

    Raises:
        AssetError: CORRUPT, EMPTY, LIMIT.
    """
    return readable_segments(_xlsx(asset), asset)


def decode_xls(asset: Asset) -> Iterator[Segment]:
    """Chunks of the sheets of an Excel 97-2003 workbook, as `decode_xlsx`.

    Raises:
        AssetError: CORRUPT, ENCRYPTED, EMPTY, LIMIT.
    """
    return readable_segments(_xls(asset), asset)


def _xlsx(asset: Asset) -> Iterator[Readable]:
    with reported("xlsx"):
        book = openpyxl.load_workbook(asset.file, read_only=True, data_only=True, keep_links=False)
        for number, sheet in enumerate(book.worksheets, 1):
            # What a sheet says of its own size may be wrong, or a bomb.
            sheet.reset_dimensions()
            yield _sheet(sheet.iter_rows(values_only=True), sheet.title, number)


def _xls(asset: Asset) -> Iterator[Readable]:
    with reported("xls"):
        try:
            book = python_calamine.CalamineWorkbook.from_filelike(asset.file)
            for number, name in enumerate(book.sheet_names, 1):
                yield _sheet(book.get_sheet_by_name(name).iter_rows(), name, number)
        except python_calamine.PasswordError as error:
            raise AssetError(ErrorCode.ENCRYPTED, "the workbook asks for a password") from error
        except python_calamine.CalamineError as error:
            raise AssetError(ErrorCode.CORRUPT, f"xls: {error}") from error
        except BaseException as error:
            # A panic of the Rust library is no Exception.
            if type(error).__name__ == "PanicException":
                raise AssetError(ErrorCode.CORRUPT, f"xls: {error}") from error
            raise


def _sheet(rows: Iterable[Iterable[Any]], name: str, number: int) -> Readable:
    writer = Writer()
    cells = 0
    for row in rows:
        shown = [_shown(value) for value in row]
        cells += len(shown)
        if cells > MOST_CELLS:
            raise AssetError(ErrorCode.LIMIT, f"sheet '{name}' has more than {MOST_CELLS} cells")
        if any(shown):
            writer.row(shown)
    return writer.readable(number, (name,))


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, dt.datetime) and value.time() == dt.time():
        return value.date().isoformat()
    return value.isoformat(" ") if isinstance(value, dt.datetime) else str(value)
