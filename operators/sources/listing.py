"""List a source: a folder or prefix, one object, or a manifest, into the `LISTING` table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.sources.local import files_below
from operators.sources.manifest import is_manifest, read_manifest
from operators.sources.objects import object_rows
from operators.storage import Storage, explained, is_within, normalize, parent, scheme
from schemas.errors import SourceError


@dataclass(frozen=True, slots=True)
class Listed:
    """One listed source: its objects, and the roots that it may read from."""

    source: str
    table: pa.Table
    roots: tuple[str, ...]


def list_source(
    source: str, storage: Storage, allow: tuple[str, ...] = (), lake: str | None = None
) -> Listed:
    """Every object of a source, but for those of the lake itself when it lies inside.

    Each source may read what it grants and below each root in `allow`, nowhere else. A folder or prefix grants
    itself, a manifest the folder that it lies in. A single object grants only itself, and its folder too when
    its name ends in `.json`, since it may be an interleaved document with references.
    On S3 a prefix with objects below it is listed even if an object has its name, and a source that ends in
    `/` is always one. Objects whose path has a part that starts with a dot are not assets.

    Raises:
        SourceError: it does not exist, cannot be read, or is a manifest without what a manifest needs.
        UsageError: its URI is empty, of an unknown scheme, or names a host.
    """
    uri = normalize(source)
    allowed = tuple(normalize(root) for root in allow)
    with explained(uri, SourceError):
        below = _below(uri, storage, folder=source.endswith("/"))
        if below is None:
            return _one(uri, storage, allowed)
    if lake is not None and is_within(lake, uri):
        below = [(one, info) for one, info in below if not one.startswith(lake.rstrip("/") + "/")]
    return Listed(uri, object_rows(below, uri), (uri, *allowed))


def _one(uri: str, storage: Storage, allowed: tuple[str, ...]) -> Listed:
    if is_manifest(uri):
        roots = (parent(uri), *allowed)
        return Listed(uri, read_manifest(uri, storage, roots), roots)
    roots = (uri, parent(uri), *allowed) if uri.lower().endswith(".json") else (uri, *allowed)
    fs, path = storage.filesystem(uri)
    return Listed(uri, object_rows([(uri, fs.info(path))], uri), roots)


def _below(uri: str, storage: Storage, *, folder: bool) -> list[tuple[str, dict[str, Any]]] | None:
    """The assets below a folder or prefix; None when the URI is one object."""
    fs, path = storage.filesystem(uri)
    if scheme(uri) == "file":
        if os.path.isfile(path) and not folder:
            return None
        return files_below(path)
    found = fs.find(path, detail=True, withdirs=False)
    keys = [key for key in sorted(found) if key.startswith(path + "/")]
    if not keys and "/" in path:
        if path in found and not folder:
            return None
        raise FileNotFoundError(path)
    return [("s3://" + key, found[key]) for key in keys if _is_asset(key[len(path) + 1 :], found[key])]


def _is_asset(below: str, info: dict[str, Any]) -> bool:
    hidden = any(part.startswith(".") for part in below.split("/"))
    return info.get("type") == "file" and bool(below) and not hidden
