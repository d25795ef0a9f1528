"""The files below a local folder: none vanishes, and a folder that cannot be read is an error, not an empty one."""

from __future__ import annotations

import os
import stat
from typing import Any

from operators.storage import is_text, is_within
from schemas.errors import SourceError

Info = dict[str, Any]


def files_below(root: str) -> list[tuple[str, Info]]:
    """Every file and link below a folder, by path, with `size` and `mtime` (seconds).

    Links are listed with their target's when that is a file in the root. The info is empty, and a run
    quarantines the asset, for any other link, for a file that cannot be looked at, and for a name that is not
    UTF-8, which is listed with U+FFFD. Names that start with a dot, pipes, sockets and devices are no assets.

    Raises:
        SourceError: a folder cannot be listed.
    """
    found: list[tuple[str, Info]] = []
    unreadable: list[str] = []
    folders = [root]
    while folders:
        folder = folders.pop()
        for entry in _entries(folder, root):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif (info := _info(entry, root)) is not None:
                if is_text(entry.path):
                    found.append((entry.path, info))
                else:
                    unreadable.append(entry.path)
    return sorted([*found, *_renamed(unreadable, {path for path, _ in found})], key=lambda row: row[0])


def _entries(folder: str, root: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError:
        if folder == root:
            raise
        return []
    except OSError as error:
        shown = os.fsencode(folder).decode("utf-8", "replace")
        raise SourceError(
            f"cannot list the folder {shown}: {error.strerror}; make it readable or move it out of the source"
        ) from error


def _info(entry: os.DirEntry[str], root: str) -> Info | None:
    link = entry.is_symlink()
    if link and not is_within(entry.path, root):
        return {}
    try:
        found = os.stat(entry.path) if link else entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return {} if link else None
    except OSError:
        return {}
    if stat.S_ISREG(found.st_mode):
        return {"size": found.st_size, "mtime": found.st_mtime}
    return {} if stat.S_ISDIR(found.st_mode) else None


def _renamed(paths: list[str], taken: set[str]) -> list[tuple[str, Info]]:
    rows: list[tuple[str, Info]] = []
    for path in sorted(paths):
        raw = os.fsencode(path)
        shown = raw.decode("utf-8", "replace")
        # Two names may look alike once replaced; a corpus has one row for each uri.
        shown = raw.decode("utf-8", "backslashreplace") if shown in taken else shown
        taken.add(shown)
        rows.append((shown, {}))
    return rows
