"""Files on local disk: whole or not at all, never a pipe, and never two versions of one in one read."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from operators.faults import Fault, NotAFile, Read, Stat, StorageFault, final

BLOCK_BYTES = 8 << 20


def etag(found: os.stat_result) -> str:
    """What changes when a file does: its exact time of change."""
    return f"mtime-{found.st_mtime_ns}"


def path(uri: str) -> str:
    """The path of a local URI."""
    return uri.removeprefix("file://")


def regular(path: str) -> os.stat_result:
    """What the system says of a file; links are followed.

    Raises:
        NotAFile: it is something else. Opening a pipe would block, opening a device may do anything.
        OSError: there is none, or it cannot be looked at.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise NotAFile(Fault.MISSING, path, "a folder, pipe, socket or device, not a file")
    return found


def blocks(read: Read) -> Iterator[bytes]:
    """A regular file's bytes, or those of the range that `read` names.

    Raises:
        StorageFault: it is no file, has another etag or size than expected, or changed while it was read.
        OSError: it cannot be read.
    """
    name = path(read.uri)
    regular(name)
    with open(name, "rb", buffering=0) as file:
        before = os.fstat(file.fileno())
        if read.etag is not None and etag(before) != read.etag:
            raise StorageFault(Fault.CHANGED, read.uri, "changed since it was listed")
        if read.start is None:
            left = before.st_size
            if read.size is not None and left != read.size:
                raise StorageFault(Fault.CHANGED, read.uri, f"{left} bytes, {read.size} listed")
        else:
            left = before.st_size - read.start if read.size is None else read.size
            if read.start + left > before.st_size:
                raise StorageFault(Fault.CHANGED, read.uri, f"{before.st_size} bytes, too few for the range")
            file.seek(read.start)
        while left > 0 and (block := file.read(min(left, BLOCK_BYTES))):
            left -= len(block)
            yield block
        after = os.fstat(file.fileno())
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise StorageFault(Fault.CHANGED, read.uri, "changed while it was read")


def read(wanted: Read) -> bytes | StorageFault:
    """A whole file, or why there is none."""
    try:
        return b"".join(blocks(wanted))
    except OSError as error:
        return final(error, wanted.uri)


def look(uri: str) -> Stat | StorageFault:
    """What the system says of a file, or why it cannot."""
    try:
        found = regular(path(uri))
    except OSError as error:
        return final(error, uri)
    return Stat(found.st_size, etag(found), datetime.fromtimestamp(found.st_mtime, UTC))


def put(path: str, data: bytes) -> None:
    """Write a file atomically."""
    os.replace(_spill(path, data), path)


def create(path: str, data: bytes) -> bool:
    """Write a file atomically unless there is one; whether it was written."""
    spilled = _spill(path, data)
    try:
        os.link(spilled, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(spilled)
    return True


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A new file that takes the place of `path` when the block ends; when the block raises, nothing has changed."""
    name = _beside(path)
    try:
        with open(name, "xb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        os.replace(name, path)
    finally:
        name.unlink(missing_ok=True)


def _spill(path: str, data: bytes) -> str:
    name = _beside(path)
    with open(name, "xb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    return str(name)


def _beside(path: str) -> Path:
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    # Not `mkstemp`: its mode 0600 would lock other users out of the lake.
    return folder / f".tmp-{uuid.uuid4().hex}"
