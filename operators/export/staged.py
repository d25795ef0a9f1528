"""A large file that nobody sees before it is committed: written beside its name, or as parts of an upload."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from operators import disk
from operators.storage import Storage, scheme

_PART_BYTES = 8 << 20


class StagedFile:
    """One file in the writing. `commit` makes it visible whole; `discard` leaves nothing of it.

    Of a killed process a local file leaves a `.tmp-` file, an upload to S3 its parts: a bucket's rule for unfinished
    uploads collects those.
    """

    def __init__(self, storage: Storage, uri: str) -> None:
        fs, self._path = storage.filesystem(uri)
        self._spill: Path | None = None
        self.file: Any
        if scheme(uri) == "s3":
            self.file = fs.open(self._path, "wb", autocommit=False, block_size=_PART_BYTES)
        else:
            self._spill = Path(disk.path(uri)).parent / f".tmp-{uuid.uuid4().hex}"
            self._spill.parent.mkdir(parents=True, exist_ok=True)
            self.file = open(self._spill, "xb")  # noqa: SIM115 - closed by `finish`
        self.handle: IO[bytes] = self.file
        self.bytes = 0

    def finish(self) -> None:
        """All bytes are written."""
        self.bytes = self.file.tell()
        if self._spill is not None:
            self.file.flush()
            os.fsync(self.file.fileno())
        self.file.close()

    def commit(self) -> None:
        """Make the finished file visible."""
        if self._spill is None:
            self.file.commit()
        else:
            os.replace(self._spill, self._path)

    def discard(self) -> None:
        """Leave nothing of it, finished or not."""
        if self._spill is None:
            with suppress(OSError):
                self.file.discard()
            return
        with suppress(OSError):  # of a full disk, once more
            self.file.close()
        self._spill.unlink(missing_ok=True)
