"""PowerPoint files: one text a slide, with its tables, pictures and notes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pptx import Presentation
from pptx.shapes.group import GroupShape
from pptx.shapes.picture import Picture

from operators.decode.asset import Asset
from operators.decode.office.writer import Writer
from operators.decode.office.xml import check_parts, reported
from operators.decode.readable import Readable, readable_segments
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode

_DEEPEST = 16


def decode_pptx(asset: Asset) -> Iterator[Segment]:
    """Chunks of slides; `page` is the slide's number, its title comes first and its notes last.

    Raises:
        AssetError: CORRUPT, EMPTY, LIMIT.
    """
    check_parts(asset.file)
    return readable_segments(_slides(asset), asset)


def _slides(asset: Asset) -> Iterator[Readable]:
    with reported("pptx"):
        for number, slide in enumerate(Presentation(asset.file).slides, 1):
            yield _slide(slide, number)


def _slide(slide: Any, number: int) -> Readable:
    writer = Writer()
    title = slide.shapes.title
    name = title.text_frame.text.strip() if title is not None and title.has_text_frame else ""
    writer.block(name, 1)
    _shapes(slide.shapes, writer, 0, title)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text.strip()
        writer.block(f"Notes: {notes}" if notes else "")
    return writer.readable(number)


def _shapes(shapes: Iterable[Any], writer: Writer, depth: int, title: Any) -> None:
    if depth > _DEEPEST:
        raise AssetError(ErrorCode.LIMIT, f"groups of shapes more than {_DEEPEST} deep")
    for shape in shapes:
        if title is not None and shape.shape_id == title.shape_id:
            continue
        if isinstance(shape, GroupShape):
            _shapes(shape.shapes, writer, depth + 1, title)
        elif shape.has_text_frame:
            writer.block(shape.text_frame.text)
        elif getattr(shape, "has_table", False) and shape.has_table:
            for row_number, row in enumerate(shape.table.rows):
                writer.row((cell.text for cell in row.cells), first=row_number == 0)
        elif isinstance(shape, Picture):
            _picture(shape, writer)


def _picture(shape: Any, writer: Writer) -> None:
    alt = shape._element.nvPicPr.cNvPr.get("descr") or ""
    try:
        writer.picture(shape.image.blob, alt)
    except (ValueError, KeyError, AttributeError):
        # A linked picture lies outside the file.
        writer.alternative(alt)
