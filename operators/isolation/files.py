"""File descriptors for what is open here: a child reads them, and no name or grant crosses."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

_BLOCK = 1 << 20


def in_memory(file: BinaryIO) -> int | None:
    """The size of a file whose bytes are in this process; None of any other."""
    if isinstance(file, io.BytesIO) or _unspilled(file):
        return file.seek(0, io.SEEK_END) or file.tell()
    return None


@contextmanager
def descriptor(file: BinaryIO) -> Iterator[int]:
    """A descriptor with the file's bytes, valid inside the block: its own, or of a copy of what is in memory.

    Raises:
        OSError: no memory or no disk for the copy.
    """
    own = _own(file)
    if own is not None:
        yield own
        return
    with scratch() as copy:
        if isinstance(file, io.BytesIO):
            copy.write(file.getbuffer())
        else:
            file.seek(0)
            shutil.copyfileobj(file, copy, _BLOCK)
        copy.flush()
        yield copy.fileno()


def _unspilled(file: BinaryIO) -> bool:
    return isinstance(file, tempfile.SpooledTemporaryFile) and cast(Any, file).name is None


def _own(file: BinaryIO) -> int | None:
    # Asking a spool in memory for its descriptor would write it to disk.
    if _unspilled(file):
        return None
    try:
        return file.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return None


def scratch() -> BinaryIO:
    """A file in memory where the system has such; else one without a name on disk."""
    if hasattr(os, "memfd_create"):
        return open(os.memfd_create("embedlake-asset"), "w+b", buffering=0)
    return cast(BinaryIO, tempfile.TemporaryFile(buffering=0))
