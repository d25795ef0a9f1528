"""Manifests: Parquet, CSV or JSONL of URIs with the user's metadata, or JSONL of interleaved documents."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from operators.sources.objects import object_rows
from operators.storage import Storage, is_within, resolve
from schemas.errors import SourceError, UsageError
from schemas.tables import LISTING, TIMESTAMP, check_metadata_names

MANIFEST_SUFFIXES = (".parquet", ".csv", ".jsonl", ".ndjson")
_STAT_THREADS = 16
_OWN_COLUMNS = ("uri", "size", "etag", "mtime", "parts", "id")


def read_manifest(uri: str, storage: Storage, roots: tuple[str, ...]) -> pa.Table:
    """The manifest's rows as a `LISTING` table, with a `metadata` struct column when it has further columns.

    A row names an object by `uri` (absolute, or relative to the manifest), or carries an interleaved document
    in `parts`; such a document's URI is `<manifest>#<id>`, with `id` from the row or its line number.
    Objects outside `roots` stay in the listing, unread: the run quarantines them.

    Raises:
        SourceError: the file cannot be parsed or lacks the columns of a manifest.
        UsageError: a metadata column has a reserved name.
    """
    fs, path = storage.filesystem(uri)
    try:
        with fs.open(path, "rb") as file:
            table, documents = _parse(file, uri)
    except (pa.ArrowException, ValueError) as error:
        raise SourceError(f"cannot read manifest {uri}: {' '.join(str(error).split())[:200]}") from error
    if "uri" not in table.column_names and documents is None:
        have = ", ".join(table.column_names)
        raise SourceError(f"manifest {uri} has no column 'uri' (or 'parts'); its columns: {have}")
    rows = (
        _documents(uri, table, documents) if documents is not None else _objects(uri, table, storage, roots)
    )
    return _with_metadata(rows, table, uri)


def _parse(file: Any, uri: str) -> tuple[pa.Table, list[bytes] | None]:
    if uri.endswith(".parquet"):
        return pa.parquet.read_table(file), None
    if uri.endswith(".csv"):
        return pa.csv.read_csv(file), None
    lines = [line for line in file.read().splitlines() if line.strip()]
    rows = [json.loads(line) for line in lines]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("every line must be a JSON object")
    flat = pa.Table.from_pylist([{k: v for k, v in row.items() if k != "parts"} for row in rows])
    return flat, lines if any("parts" in row for row in rows) else None


def _documents(uri: str, table: pa.Table, lines: list[bytes]) -> dict[str, Any]:
    ids = table["id"].to_pylist() if "id" in table.column_names else [None] * len(lines)
    names = [f"{uri}#{given if given is not None else f'line-{n}'}" for n, given in enumerate(ids, 1)]
    _refuse_repeats(names, uri)
    return {
        "uri": names,
        "size": [len(line) for line in lines],
        "etag": [hashlib.sha256(line).hexdigest()[:32] for line in lines],
        "mtime": pa.nulls(len(lines), TIMESTAMP),
        "inline": lines,
    }


def _objects(uri: str, table: pa.Table, storage: Storage, roots: tuple[str, ...]) -> dict[str, Any]:
    base = uri.rsplit("/", 1)[0]
    uris = [_resolve(value, base, uri) for value in table["uri"].to_pylist()]
    _refuse_repeats(uris, uri)
    if {"size", "etag"} <= set(table.column_names):
        mtime = (
            table["mtime"].cast(TIMESTAMP)
            if "mtime" in table.column_names
            else pa.nulls(len(uris), TIMESTAMP)
        )
        return {
            "uri": uris,
            "size": table["size"].cast(pa.int64()),
            "etag": table["etag"].cast(pa.string()),
            "mtime": mtime,
        }

    def stat(one: str) -> tuple[str, dict[str, Any]]:
        if not any(is_within(one, root) for root in roots):
            return one, {}
        fs, path = storage.filesystem(one)
        try:
            return one, fs.info(path)
        except OSError:
            return one, {}

    with ThreadPoolExecutor(_STAT_THREADS) as pool:
        found = object_rows(list(pool.map(stat, uris)), uri)
    return {name: found[name] for name in ("uri", "size", "etag", "mtime")}


def _resolve(value: Any, base: str, manifest: str) -> str:
    if not isinstance(value, str) or not value:
        raise SourceError(f"manifest {manifest}: a row has no uri")
    try:
        return resolve(value, base)
    except UsageError:
        return value


def _refuse_repeats(uris: list[str], manifest: str) -> None:
    if len(set(uris)) != len(uris):
        seen: set[str] = set()
        twice = next(u for u in uris if u in seen or seen.add(u))  # type: ignore[func-returns-value]
        raise SourceError(f"manifest {manifest} names {twice} twice: each asset may have one row")


def _with_metadata(rows: dict[str, Any], table: pa.Table, manifest: str) -> pa.Table:
    count = table.num_rows
    rows = {"inline": pa.nulls(count, pa.large_binary()), "source": [manifest] * count, **rows}
    listed = pa.table({name: rows[name] for name in LISTING.names}, schema=LISTING)
    names = [name for name in table.column_names if name not in _OWN_COLUMNS]
    if not names:
        return listed
    check_metadata_names(names, manifest)
    columns = [table[name].combine_chunks() for name in names]
    columns = [c.cast(pa.string()) if pa.types.is_null(c.type) else c for c in columns]
    fields = [pa.field(name, column.type) for name, column in zip(names, columns, strict=True)]
    return listed.append_column("metadata", pa.StructArray.from_arrays(columns, fields=fields))
