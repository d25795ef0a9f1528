"""Manifests: Parquet, CSV or JSONL of URIs with the user's metadata, or JSONL of interleaved documents."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, cast

import pyarrow as pa

from operators.faults import Read, Stat, StorageFault
from operators.sources.objects import Rows
from operators.sources.parse import MANIFEST_SUFFIXES, OWN_COLUMNS, Document, parse
from operators.storage import Storage, is_within, parent, resolve, scheme
from schemas.errors import SourceError, UsageError
from schemas.tables import LISTING, TIMESTAMP, check_metadata_names

_STATS_AT_ONCE = 4096
_SPOOL_BYTES = 64 << 20


def is_manifest(uri: str) -> bool:
    """Whether a source of this name is a manifest."""
    return uri.lower().endswith(MANIFEST_SUFFIXES)


def read_manifest(uri: str, storage: Storage, roots: tuple[str, ...]) -> pa.Table:
    """The manifest's rows as a `LISTING` table, with a `metadata` struct column when it has further columns.

    A row names an object by `uri` (absolute, or relative to the manifest), or, in JSONL, carries an interleaved
    document in `parts`; such a document's URI is `<manifest>#<id>`, with `id` from the row or its line number.
    All rows are of the one kind or of the other. Columns without a value in any row are left out.
    Objects outside `roots` stay in the listing, unread: the run quarantines them.

    Raises:
        SourceError: the file cannot be parsed, mixes both kinds, or lacks the columns of a manifest.
        UsageError: a metadata column has a reserved name.
    """
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
        for block in storage.blocks(Read(uri)):
            spool.write(block)
        spool.seek(0)
        table, documents = parse(cast(BinaryIO, spool), uri)
    names = [name for name in table.column_names if name not in OWN_COLUMNS]
    check_metadata_names(names, f"manifest {uri}")
    if documents is None and "uri" not in table.column_names:
        have = ", ".join(table.column_names)
        raise SourceError(f"manifest {uri} has no column 'uri' (or 'parts'); its columns: {have}")
    rows = _objects(uri, table, storage, roots) if documents is None else _documents(uri, documents)
    return _with_metadata(rows, table.select(names), uri)


def _documents(uri: str, documents: list[Document]) -> dict[str, Any]:
    names = [f"{uri}#{d.id if d.id is not None else f'line-{d.line}'}" for d in documents]
    _refuse_repeats(names, uri)
    return {
        "uri": names,
        "size": [len(d.body) for d in documents],
        "etag": [hashlib.sha256(d.body).hexdigest()[:32] for d in documents],
        "mtime": pa.nulls(len(documents), TIMESTAMP),
        "inline": [d.body for d in documents],
    }


def _objects(uri: str, table: pa.Table, storage: Storage, roots: tuple[str, ...]) -> dict[str, Any]:
    base = parent(uri)
    uris = [_resolve(value, base, uri) for value in table["uri"].to_pylist()]
    _refuse_repeats(uris, uri)
    if {"size", "etag"} <= set(table.column_names):
        known = "mtime" in table.column_names
        return {
            "uri": uris,
            "size": _cast(table, "size", pa.int64(), uri),
            "etag": _cast(table, "etag", pa.string(), uri),
            "mtime": _cast(table, "mtime", TIMESTAMP, uri) if known else pa.nulls(len(uris), TIMESTAMP),
        }

    found = object_table(_looked_at(uris, storage, roots), uri)
    return {name: found[name] for name in ("uri", "size", "etag", "mtime")}


def object_table(found: Iterable[tuple[str, Stat | None]], source: str) -> pa.Table:
    """Objects that were looked at one by one as a `LISTING` table."""
    rows = Rows(source)
    for uri, stat in found:
        if stat is None:
            rows.add(uri, None, None, None)
        else:
            time_ms = None if stat.mtime is None else int(stat.mtime.timestamp() * 1000)
            rows.add(uri, stat.size, stat.etag, time_ms)
    return rows.table()


def _looked_at(
    uris: list[str], storage: Storage, roots: tuple[str, ...]
) -> Iterator[tuple[str, Stat | None]]:
    """Every URI in order; what may not or cannot be looked at has no stat, and the run finds out why."""
    for start in range(0, len(uris), _STATS_AT_ONCE):
        some = uris[start : start + _STATS_AT_ONCE]
        stats: dict[str, Stat | StorageFault] = {}
        for kind in ("file", "s3"):
            asked = [u for u in some if scheme(u) == kind and any(is_within(u, root) for root in roots)]
            stats.update(zip(asked, storage.stat_many(asked), strict=True))
        for uri in some:
            found = stats.get(uri)
            yield uri, found if isinstance(found, Stat) else None


def _cast(table: pa.Table, name: str, kind: pa.DataType, manifest: str) -> pa.ChunkedArray:
    try:
        return table[name].cast(kind)
    except pa.ArrowException as error:
        why = " ".join(str(error).split())[:200]
        raise SourceError(f"manifest {manifest}: column '{name}' is not {kind}: {why}") from error


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


def _with_metadata(rows: dict[str, Any], metadata: pa.Table, manifest: str) -> pa.Table:
    count = len(rows["uri"])
    rows = {"inline": pa.nulls(count, pa.large_binary()), "source": [manifest] * count, **rows}
    listed = pa.table({name: rows[name] for name in LISTING.names}, schema=LISTING)
    # A column without a value has no type to keep: tomorrow's values would clash with a guess.
    fields = [field for field in metadata.schema if metadata[field.name].null_count < count]
    if not fields:
        return listed
    columns = [metadata[field.name].combine_chunks() for field in fields]
    struct = pa.StructArray.from_arrays(columns, fields=[pa.field(f.name, f.type) for f in fields])
    return listed.append_column("metadata", struct)
