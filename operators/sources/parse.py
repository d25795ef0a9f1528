"""A manifest's file as a table of plain types; JSONL may hold interleaved documents instead of URIs."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from schemas.errors import SourceError

MANIFEST_SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson")
OWN_COLUMNS = ("uri", "size", "etag", "mtime", "parts", "id")
"""Columns that a manifest defines; all others are the user's metadata."""

_TEXT = {"uri": pa.string(), "id": pa.string(), "etag": pa.string()}


@dataclass(frozen=True, slots=True)
class Document:
    """An interleaved document that is a manifest's line: its number from 1, its `id` if any, its bytes."""

    line: int
    id: Any
    body: bytes


def parse(file: BinaryIO, uri: str) -> tuple[pa.Table, list[Document] | None]:
    """The manifest's columns, and its documents when its rows hold `parts`.

    Raises:
        SourceError: names the manifest and the column or line that is wrong.
    """
    try:
        if not uri.lower().endswith((".jsonl", ".ndjson")):
            return _plain(_read(file, uri), uri), None
        rows = _json_rows(file.read(), uri)
        documents = _documents(rows, uri)
        table = _columns(rows, uri, skip=("parts",) if documents is None else OWN_COLUMNS)
        return _plain(table, uri), documents
    except (pa.ArrowException, ValueError) as error:
        raise SourceError(f"cannot read manifest {uri}: {' '.join(str(error).split())[:200]}") from error


def _read(file: BinaryIO, uri: str) -> pa.Table:
    if uri.lower().endswith(".csv"):
        # Read as text: an id of digits keeps its zeros.
        return pa.csv.read_csv(file, convert_options=pa.csv.ConvertOptions(column_types=_TEXT))
    return pa.parquet.ParquetFile(file).read()


def _json_rows(data: bytes, uri: str) -> dict[int, tuple[bytes, dict[str, Any]]]:
    rows: dict[int, tuple[bytes, dict[str, Any]]] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"cannot read manifest {uri}: line {number}: {str(error)[:200]}") from error
        if not isinstance(row, dict):
            raise SourceError(f"cannot read manifest {uri}: line {number} is not a JSON object")
        rows[number] = (line, row)
    return rows


def _documents(rows: dict[int, tuple[bytes, dict[str, Any]]], uri: str) -> list[Document] | None:
    kinds = {number: _kind(row) for number, (_, row) in rows.items()}
    if not any("parts" in row for _, row in rows.values()):
        return None
    first, kind = next(iter(kinds.items()))
    for number, (_, row) in rows.items():
        if kinds[number] != kind:
            raise SourceError(
                f"manifest {uri}: line {number} has {kinds[number]} and line {first} has {kind}: "
                f"put objects and documents in two manifests"
            )
        if "uri" in row and "parts" in row:
            raise SourceError(f"manifest {uri}: line {number} has both 'uri' and 'parts': keep one")
    return [Document(number, row.get("id"), line) for number, (line, row) in rows.items()]


def _kind(row: dict[str, Any]) -> str:
    return next((f"'{name}'" for name in ("parts", "uri") if name in row), "neither 'uri' nor 'parts'")


def _columns(rows: dict[int, tuple[bytes, dict[str, Any]]], uri: str, skip: tuple[str, ...]) -> pa.Table:
    names = dict.fromkeys(name for _, row in rows.values() for name in row if name not in skip)
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for _, row in rows.values()])
        except OverflowError as error:
            detail = "an integer of more than 64 bits, sign included: write it as a string"
            raise SourceError(f"manifest {uri}: column '{name}' holds {detail}") from error
        except (pa.ArrowException, ValueError, TypeError) as error:
            why = " ".join(str(error).split())[:200]
            raise SourceError(f"manifest {uri}: column '{name}' has no one type: {why}") from error
    return pa.table(columns)


def _plain(table: pa.Table, uri: str) -> pa.Table:
    """The table with types that every reader of a lake has."""
    twice = [name for name, count in Counter(table.column_names).items() if count > 1]
    if twice:
        raise SourceError(f"manifest {uri} has two columns named '{twice[0]}': rename one")
    fields = [pa.field(f.name, _plain_type(f.type, f.name, uri)) for f in table.schema]
    return table.cast(pa.schema(fields)) if fields else table


def _plain_type(kind: pa.DataType, name: str, uri: str) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type, name, uri)
    if pa.types.is_map(kind):
        raise SourceError(f"manifest {uri}: column '{name}' holds a map: make it columns or a list")
    if pa.types.is_struct(kind):
        return pa.struct([f.with_type(_plain_type(f.type, name, uri)) for f in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain_type(kind.value_type, name, uri)))
    return kind
