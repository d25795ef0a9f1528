"""The objects of a lake as files: listed with size and age, and deleted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from operators.lake.layout import Layout
from operators.storage import Storage, join, scheme

_TABLE = ".lance"
_MANIFEST = ".manifest"
_SPILL = ".tmp-"
_BATCH = 1000


@dataclass(frozen=True, slots=True, order=True)
class File:
    """An object of a lake."""

    uri: str
    size: int
    modified: datetime


def find(storage: Storage, uri: str) -> list[File]:
    """Every object below a folder, by name; none when there is no such folder."""
    fs, path = storage.filesystem(uri)
    found: dict[str, dict[str, Any]] = fs.find(path, detail=True)
    head = "s3://" if scheme(uri) == "s3" else ""
    return sorted(
        File(head + name, int(info["size"]), _modified(info))
        for name, info in found.items()
        if info["type"] == "file"  # S3 servers with real folders list an empty one
    )


def delete(storage: Storage, uris: Iterable[str]) -> None:
    """Delete objects; one that is gone already is no error."""
    names = list(uris)
    for start in range(0, len(names), _BATCH):
        _delete(storage, names[start : start + _BATCH])


def remove_table(storage: Storage, uri: str) -> list[File]:
    """Delete every file of a table, its manifests first: a cut removal leaves no table that can be opened."""
    files = find(storage, uri)
    manifests = [file for file in files if file.uri.startswith(f"{uri}/_versions/")]
    delete(storage, (file.uri for file in manifests))
    delete(storage, (file.uri for file in files if file not in manifests))
    if scheme(uri) != "s3":
        fs, path = storage.filesystem(uri)
        with suppress(FileNotFoundError):
            fs.rm(path, recursive=True)
    return files


def spilled(storage: Storage, layout: Layout, corpus: str) -> list[File]:
    """What writers that were killed in the middle of a small file have left beside it, on a local disk."""
    files = find(storage, layout.corpus(corpus))
    return [file for file in files if file.uri.rsplit("/", 1)[-1].startswith(_SPILL)]


def table_uris(layout: Layout, corpus: str, storage: Storage) -> list[str]:
    """Every Lance table of a corpus, whatever it is for: `<corpus>/X.lance` and `<corpus>/FOLDER/X.lance`."""
    return [uri for uri in _named(layout, corpus, storage) if _opens(uri, storage)]


def remove_cut_tables(layout: Layout, corpus: str, storage: Storage) -> list[File]:
    """Finish removals that were cut short: delete the files of tables that have no manifest any more."""
    cut = [uri for uri in _named(layout, corpus, storage) if not _opens(uri, storage)]
    return [file for uri in cut for file in remove_table(storage, uri)]


def _opens(uri: str, storage: Storage) -> bool:
    return any(name.endswith(_MANIFEST) for name in storage.names(join(uri, "_versions")))


def _named(layout: Layout, corpus: str, storage: Storage) -> list[str]:
    root, found = layout.corpus(corpus), []
    for name in storage.names(root):
        if name.endswith(_TABLE):
            found.append(join(root, name))
        elif name not in layout.NO_TABLES:
            found += [join(root, name, n) for n in storage.names(join(root, name)) if n.endswith(_TABLE)]
    return found


def _delete(storage: Storage, uris: Sequence[str]) -> None:
    if uris and scheme(uris[0]) == "s3":
        _delete_objects(storage, uris)
        return
    for uri in uris:
        fs, path = storage.filesystem(uri)
        with suppress(FileNotFoundError):
            fs.rm_file(path)


def _delete_objects(storage: Storage, uris: Sequence[str]) -> None:
    """One bulk request; s3fs' own `rm` would take a `*` in a name for a pattern."""
    fs, _ = storage.filesystem(uris[0])
    bucket = uris[0][5:].partition("/")[0]
    keys = [{"Key": uri[5:].partition("/")[2]} for uri in uris]
    answer = fs.call_s3("delete_objects", Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
    if refused := answer.get("Errors"):
        first = refused[0]
        raise OSError(f"{len(refused)} objects were not deleted: {first.get('Key')}: {first.get('Code')}")


def _modified(info: dict[str, Any]) -> datetime:
    stamp = info.get("LastModified", info.get("mtime"))
    return stamp if isinstance(stamp, datetime) else datetime.fromtimestamp(float(stamp or 0), UTC)
