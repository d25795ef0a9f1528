"""List a source: a folder or prefix, one object, or a manifest, into the `LISTING` table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.sources.manifest import MANIFEST_SUFFIXES, read_manifest
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

    A folder or prefix grants itself; a manifest grants the folder that it lies in, and the roots in `allow`.
    Objects whose path has a part that starts with a dot are not assets.

    Raises:
        SourceError: it does not exist, cannot be read, or is a manifest without what a manifest needs.
        UsageError: its scheme is unknown.
    """
    uri = normalize(source)
    allowed = tuple(normalize(root) for root in allow)
    with explained(uri, SourceError):
        fs, path = storage.filesystem(uri)
        if not fs.exists(path):
            raise FileNotFoundError(path)
        if fs.isfile(path):
            roots = (parent(uri), *allowed)
            if uri.endswith(MANIFEST_SUFFIXES):
                return Listed(uri, read_manifest(uri, storage, roots), roots)
            return Listed(uri, object_rows([(uri, fs.info(path))], uri), roots)
        found = fs.find(path, detail=True, withdirs=False)
    prefix = "s3://" if scheme(uri) == "s3" else ""
    infos = [(prefix + p, i) for p, i in sorted(found.items()) if _is_asset(prefix + p, i, uri)]
    if lake is not None and is_within(lake, uri):
        infos = [(one, info) for one, info in infos if not one.startswith(lake.rstrip("/") + "/")]
    return Listed(uri, object_rows(infos, uri), (uri, *allowed))


def _is_asset(uri: str, info: dict[str, Any], root: str) -> bool:
    below = uri[len(root.rstrip("/")) + 1 :]
    hidden = any(part.startswith(".") for part in below.split("/"))
    link = os.path.islink(uri) if scheme(uri) == "file" else False
    return (
        info.get("type") == "file" and bool(below) and not hidden and not (link and not is_within(uri, root))
    )
