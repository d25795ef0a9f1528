"""Headers of a tar as the standard library reads them, without what it reads in excess or takes for the end."""

from __future__ import annotations

import tarfile
from typing import Any, Self

TAR_BLOCK = 512
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_EXTENSION_BYTES = 1 << 20
_BAD_HEADERS = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]
"""The library takes these for the end wherever they are not the first header."""


class TarHeader(tarfile.TarInfo):
    """A header; what the library would read into memory is bounded, and damage is never taken for the end.

    Of a sparse file only `sparse` is set: the map of its holes is not read, and its data are not its bytes.
    """

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        """The next header; damage is a ReadError."""
        try:
            return super().fromtarfile(archive)
        except _BAD_HEADERS as error:
            raise tarfile.ReadError(f"a damaged header: {error}") from error

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _EXTENSIONS and self.size > _EXTENSION_BYTES:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]

    def _proc_sparse(self, archive: Any) -> Any:
        _, more, size = self._sparse_structs  # type: ignore[attr-defined]
        while more:
            block = archive.fileobj.read(TAR_BLOCK)
            if len(block) < TAR_BLOCK:
                raise tarfile.ReadError("cut off in a sparse header")
            more = block[504]
        self.sparse = []  # type: ignore[assignment]
        self.offset_data = archive.fileobj.tell()
        archive.offset = self.offset_data + self._block(self.size)  # type: ignore[attr-defined]
        self.size = size
        return self

    def _proc_gnusparse(self, found: Any, *_: Any) -> None:
        found.sparse = []

    _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse
