"""Files that a person gives as parts of a query: on disk, few, small, and gone with the server."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

from operators.decode.sniff import HEAD_BYTES
from schemas.errors import UsageError

MOST_BYTES = 64 << 20
_KEPT = 16


class Uploads:
    """The last files, each under an id that nobody can guess."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="embedlake-explore-")
        self._files: dict[str, Path] = {}

    async def take(self, body: AsyncIterator[bytes]) -> tuple[str, bytes]:
        """Keep a file; its id, and its first bytes.

        Raises:
            UsageError: it is empty or too large.
        """
        name = uuid.uuid4().hex
        path, size, head = Path(self._folder.name, name), 0, b""
        try:
            with path.open("wb") as out:
                async for block in body:
                    size += len(block)
                    if size > MOST_BYTES:
                        raise UsageError(f"a file of more than {MOST_BYTES >> 20} MB cannot be a query")
                    head += block[: max(0, HEAD_BYTES - len(head))]
                    out.write(block)
            if not size:
                raise UsageError("the file is empty")
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        self._files[name] = path
        while len(self._files) > _KEPT:
            self.drop(next(iter(self._files)))
        return name, head

    def drop(self, name: str) -> None:
        """Forget a file."""
        self._files.pop(name).unlink(missing_ok=True)

    def open(self, name: str) -> BinaryIO:
        """A file by its id.

        Raises:
            UsageError: it is not kept any more.
        """
        if name not in self._files:
            raise UsageError("the file is not here any more: add it again")
        return self._files[name].open("rb")

    def close(self) -> None:
        """Delete them all."""
        self._folder.cleanup()
