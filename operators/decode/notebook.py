"""Jupyter notebooks as Markdown: prose as it stands, code in fences, what it printed and the pictures it drew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from operators.decode.asset import Asset
from operators.decode.lenient import parsed
from operators.decode.markdown import markdown_readable
from operators.decode.readable import WHOLE_BYTES, readable_segments
from operators.decode.text import encoding
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode

_OUTPUT_CHARS = 2_000
"""Of one output; a training log says the same for megabytes."""

_Source = str | list[str]


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Output(_Loose):
    text: _Source = ""
    data: dict[str, Any] = Field(default_factory=dict)


class _Cell(_Loose):
    cell_type: str
    source: _Source = ""
    outputs: list[_Output] = Field(default_factory=list)
    attachments: dict[str, dict[str, _Source]] = Field(default_factory=dict)


class _Notebook(_Loose):
    cells: list[_Cell]
    metadata: dict[str, Any] = Field(default_factory=dict)


def decode_notebook(asset: Asset) -> Iterator[Segment]:
    """Chunks of a notebook (format 4) by its headings; characters are those of the Markdown made of it.

    Raises:
        AssetError: CORRUPT for what is no notebook, EMPTY, LIMIT over `WHOLE_BYTES`.
    """
    codec = encoding(asset.file)
    body = asset.read(WHOLE_BYTES).decode(codec, "replace").removeprefix("\ufeff")
    try:
        notebook = parsed(_Notebook, body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise AssetError(ErrorCode.CORRUPT, f"not a notebook of format 4: {where}: {first['msg']}") from error
    language = notebook.metadata.get("language_info")
    name = str(language.get("name", "")) if isinstance(language, dict) else ""
    blocks = [block for cell in notebook.cells for block in _cell(cell, name)]
    yield from readable_segments([markdown_readable("\n\n".join(blocks))], asset)


def _cell(cell: _Cell, language: str) -> Iterator[str]:
    source = _joined(cell.source).strip("\n")
    if not source.strip():
        return
    if cell.cell_type != "code":
        for name, attached in cell.attachments.items():
            for mime, data in attached.items():
                source = source.replace(f"(attachment:{name})", f"({_data_uri(mime, data)})")
        yield source
        return
    yield _fenced(source, language)
    for output in cell.outputs:
        picture = next((mime for mime in ("image/png", "image/jpeg") if mime in output.data), None)
        if picture is not None:
            yield f"![]({_data_uri(picture, output.data[picture])})"
        elif said := _joined(output.text or output.data.get("text/plain", "")).strip():
            yield _fenced(said[:_OUTPUT_CHARS], "")


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text}\n{fence}"


def _data_uri(mime: str, data: Any) -> str:
    return f"data:{mime};base64,{''.join(_joined(data).split())}"


def _joined(source: Any) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source)
