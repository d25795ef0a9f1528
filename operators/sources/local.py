"""The files below a local folder: none vanishes, and a folder that cannot be read is an error, not an empty one."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

import pyarrow as pa

from operators.disk import etag
from operators.sources.objects import Rows
from operators.storage import is_text, is_within
from schemas.errors import SourceError

_REPLACED = "\N{REPLACEMENT CHARACTER}"


def files_below(root: str, skipped: str | None = None) -> pa.Table:
    """Every file and link below a folder as a `LISTING` table, by path, but for those in the folder `skipped`.

    Links are listed with their target's size and etag when that is a file in the root. Both are null, and a run
    quarantines the asset, for any other link, for a file that cannot be looked at, and for a name that is not
    UTF-8, which is listed with U+FFFD. Names that start with a dot, pipes, sockets and devices are no assets.

    Raises:
        SourceError: a folder cannot be listed.
    """
    rows = Rows(root)
    unreadable: list[str] = []
    taken: set[str] = set()
    for entry in _walk(root, skipped):
        found = _stat(entry, root)
        if found is None:
            continue
        if not is_text(entry.path):
            unreadable.append(entry.path)
            continue
        if _REPLACED in entry.path:
            taken.add(entry.path)
        _add(rows, entry.path, found)
    for name in _renamed(unreadable, taken):
        rows.add(name, None, None, None)
    return rows.table()


def _walk(root: str, skipped: str | None) -> Iterator[os.DirEntry[str]]:
    """What is no folder, by path; the names of one folder at each depth are held."""
    folders = [iter(_entries(root, root))]
    while folders:
        entry = next(folders[-1], None)
        if entry is None:
            folders.pop()
        elif not entry.is_dir(follow_symlinks=False):
            yield entry
        elif entry.path != skipped:
            folders.append(iter(_entries(entry.path, root)))


def _entries(folder: str, root: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=_place)
    except FileNotFoundError:
        if folder == root:
            raise
        return []
    except OSError as error:
        shown = os.fsencode(folder).decode("utf-8", "replace")
        raise SourceError(
            f"cannot list the folder {shown}: {error.strerror}; make it readable or move it out of the source"
        ) from error


def _place(entry: os.DirEntry[str]) -> str:
    return entry.name + "/" * entry.is_dir(follow_symlinks=False)


_UNKNOWN = os.stat_result(range(10))
"""Stands for what cannot be looked at."""


def _stat(entry: os.DirEntry[str], root: str) -> os.stat_result | None:
    link = entry.is_symlink()
    if link and not is_within(entry.path, root):
        return _UNKNOWN
    try:
        found = os.stat(entry.path) if link else entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return _UNKNOWN if link else None
    except OSError:
        return _UNKNOWN
    if stat.S_ISREG(found.st_mode):
        return found
    return _UNKNOWN if stat.S_ISDIR(found.st_mode) else None


def _add(rows: Rows, path: str, found: os.stat_result) -> None:
    if found is _UNKNOWN:
        rows.add(path, None, None, None)
    else:
        rows.add(path, found.st_size, etag(found), found.st_mtime_ns // 1_000_000)


def _renamed(paths: list[str], taken: set[str]) -> list[str]:
    names: list[str] = []
    for path in sorted(paths):
        raw = os.fsencode(path)
        shown = raw.decode("utf-8", "replace")
        # Two names may look alike once replaced; a corpus has one row for each uri.
        shown = raw.decode("utf-8", "backslashreplace") if shown in taken else shown
        taken.add(shown)
        names.append(shown)
    return names
