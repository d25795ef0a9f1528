"""List a source: a folder or prefix, one object, or a manifest, into the `LISTING` table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from operators.faults import StorageFault
from operators.sources.local import files_below
from operators.sources.manifest import is_manifest, object_table, read_manifest
from operators.sources.prefix import Prefix
from operators.storage import Storage, explained, normalize, parent, scheme
from schemas.errors import SourceError

_SOURCES_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Listed:
    """One listed source: its objects, and the roots that it may read from."""

    source: str
    table: pa.Table
    roots: tuple[str, ...]


def list_sources(
    sources: Sequence[str], storage: Storage, allow: tuple[str, ...] = (), lake: str | None = None
) -> list[Listed]:
    """Several sources in order, listed side by side: as `list_source`, and raises what it raises."""
    with ThreadPoolExecutor(_SOURCES_AT_ONCE) as pool:
        return list(pool.map(partial(list_source, storage=storage, allow=allow, lake=lake), sources))


def list_source(
    source: str, storage: Storage, allow: tuple[str, ...] = (), lake: str | None = None
) -> Listed:
    """Every object of a source, but for those of the lake itself when it lies inside.

    Each source may read what it grants and below each root in `allow`, nowhere else. A folder or prefix grants
    itself, a manifest the folder that it lies in. A single object grants only itself, and its folder too when
    its name ends in `.json`, since it may be an interleaved document with references.
    On S3 a prefix with objects below it is listed even if an object has its name, and a source that ends in
    `/` is always one. Objects whose path has a part that starts with a dot are not assets, nor are the empty
    objects that mark folders.

    Raises:
        SourceError: it does not exist, cannot be read, or is a manifest without what a manifest needs.
        UsageError: its URI is empty, of an unknown scheme, or names a host.
    """
    uri = normalize(source)
    with explained(uri, SourceError):
        below = _below(uri, storage, lake, folder=source.endswith("/"))
        if below is not None:
            return Listed(uri, below, roots_of(uri, allow, folder=True))
        return _one(uri, storage, roots_of(uri, allow, folder=False))


def roots_of(uri: str, allow: tuple[str, ...], *, folder: bool) -> tuple[str, ...]:
    """What a source may read: see `list_source`."""
    allowed = tuple(normalize(root) for root in allow)
    if folder:
        return (uri, *allowed)
    if is_manifest(uri):
        return (parent(uri), *allowed)
    return (uri, parent(uri), *allowed) if uri.lower().endswith(".json") else (uri, *allowed)


def _one(uri: str, storage: Storage, roots: tuple[str, ...]) -> Listed:
    if is_manifest(uri):
        return Listed(uri, read_manifest(uri, storage, roots), roots)
    (found,) = storage.stat_many([uri])
    if isinstance(found, StorageFault):
        raise found
    return Listed(uri, object_table([(uri, found)], uri), roots)


def _below(uri: str, storage: Storage, lake: str | None, *, folder: bool) -> pa.Table | None:
    """The assets below a folder or prefix; None when the URI may be one object."""
    if scheme(uri) == "file":
        if not folder and os.path.exists(uri) and not os.path.isdir(uri):
            return None
        return files_below(uri, lake)
    skipped = f"{lake[5:].partition('/')[2]}/" if lake is not None and lake.startswith(f"{uri}/") else None
    prefix = Prefix(storage.s3(), uri, skipped)
    table = prefix.table()
    if not (prefix.empty and prefix.start):
        return table
    if folder:
        raise FileNotFoundError(uri)
    return None
