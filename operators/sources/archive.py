"""Archives: the members of a zip or a tar, one after another, each read once and none unpacked to a folder."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast

import pyarrow as pa

from operators.sources.spool import Fetched, spooled
from schemas.errors import AssetError, ErrorCode, described
from schemas.recipe import ArchiveRecipe

HEAD_BYTES = 4096
_BLOCK = 1 << 20
_FREE_BYTES = 256 << 20
"""What an archive may hold in any case, however small it is itself."""
_TAR_BLOCK = 512
_DIRECTORY_BYTES = 64 << 20
_TAIL_BYTES = 66_000
"""Where a zip's end record lies: it, its 64-bit form and a comment of 64 KiB."""
_EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
_EXTENSION_BYTES = 1 << 20
_LATEST = 2**33
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, NotImplementedError)
_DAMAGED_VALUES = (ValueError, OverflowError, UnicodeError, pa.ArrowException)
_ENCRYPTED = 0x1
_HIDDEN = ("__MACOSX/", "PaxHeaders/")


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive: its name there, and its bytes or why they cannot be had."""

    name: str
    size: int | None
    mtime: datetime | None
    body: Fetched | AssetError


def archive_kind(file: BinaryIO) -> str | None:
    """`zip`, `tar` or `tar` in a compression (`tar+gzip`), by content; None when it is no archive.

    A zip that is an office document, a book or a program's package is none: its decoder reads it as a whole.
    """
    file.seek(0)
    head = file.read(HEAD_BYTES)
    try:
        if head.startswith((b"PK\3\4", b"PK\5\6")):
            return None if _is_package(file) else "zip"
        if _is_tar(head):
            return "tar"
        compression = next((name for magic, name in _COMPRESSED.items() if head.startswith(magic)), None)
        if compression is None:
            return None
        kind = f"tar+{compression}"
        return kind if _is_tar(_plain(file, kind).read(_TAR_BLOCK)) else None
    except (*_DAMAGE, *_DAMAGED_VALUES, OSError):
        return None
    finally:
        file.seek(0)


def members(file: BinaryIO, kind: str, size: int, recipe: ArchiveRecipe, max_bytes: int) -> Iterator[Member]:
    """The files of an archive in the order of the archive; folders, links and devices are left out.

    Args:
        file: the archive, seekable.
        kind: as `archive_kind` says.
        size: its bytes.
        recipe: its limits.
        max_bytes: of one member; a larger one is an error of its own.

    Raises:
        AssetError: CORRUPT where the archive itself is damaged, LIMIT for too many members or a bomb; members
            before that point have been given.
    """
    names: dict[str, int] = {}
    budget = _Budget(int(max(_FREE_BYTES, size * recipe.max_ratio)))
    found = _zip(file, budget, max_bytes) if kind == "zip" else _tar(file, kind, budget, max_bytes)
    try:
        for count, member in enumerate(found):
            if count == recipe.max_members:
                raise AssetError(ErrorCode.LIMIT, f"more than {recipe.max_members} members")
            again = names[member.name] = names.get(member.name, 0) + 1
            name = member.name if again == 1 else f"{member.name}#{again}"
            yield Member(name, member.size, member.mtime, member.body)
    except (*_DAMAGE, *_DAMAGED_VALUES) as error:
        raise AssetError(ErrorCode.CORRUPT, f"damaged {kind} archive: {described(error)}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise AssetError(ErrorCode.CORRUPT, f"damaged {kind} archive: {described(error)}") from error


_PACKAGES = frozenset({"[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF", "AndroidManifest.xml"})


def _is_package(file: BinaryIO) -> bool:
    try:
        _check_directory(file)
        with zipfile.ZipFile(file) as archive:
            return not _PACKAGES.isdisjoint(archive.namelist())
    except (AssetError, *_DAMAGE, *_DAMAGED_VALUES):
        return False


def _is_tar(head: bytes) -> bool:
    """By the magic of POSIX and GNU, or by the checksum that older ones have too."""
    if head[257:262] == b"ustar":
        return True
    try:
        return (
            bool(head[:_TAR_BLOCK].strip(b"\0"))
            and tarfile.TarInfo.frombuf(head[:_TAR_BLOCK], "utf-8", "backslashreplace").isfile()
        )
    except tarfile.HeaderError:
        return False


class _Bomb(AssetError):
    """Ends the archive, not the member."""

    def __init__(self, most: int) -> None:
        super().__init__(
            ErrorCode.LIMIT, f"more than {most} bytes come out of it, too many for the archive's size"
        )


class _Budget:
    """Bytes that may come out of an archive, of all its members together."""

    def __init__(self, most: int) -> None:
        self.most, self.taken = most, 0

    def reading(self, file: BinaryIO) -> _Counted:
        """The file, until the budget is spent."""
        return _Counted(file, self)


@dataclass(frozen=True, slots=True)
class _Counted:
    file: BinaryIO
    budget: _Budget

    def read(self, size: int) -> bytes:
        block = self.file.read(size)
        self.budget.taken += len(block)
        if self.budget.taken > self.budget.most:
            raise _Bomb(self.budget.most)
        return block


def _blocks(file: _Counted | BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _zip(file: BinaryIO, budget: _Budget, max_bytes: int) -> Iterator[Member]:
    _check_directory(file)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if not info.is_dir() and not info.filename.startswith(_HIDDEN):
                body = _zip_body(archive, info, budget, max_bytes)
                yield Member(info.filename, info.file_size, _zip_time(info), body)


def _zip_body(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: _Budget, max_bytes: int
) -> Fetched | AssetError:
    if info.flag_bits & _ENCRYPTED:
        return AssetError(ErrorCode.ENCRYPTED, "an encrypted member of a zip archive")
    try:
        with archive.open(info) as file:
            return spooled(_blocks(budget.reading(cast(BinaryIO, file))), max_bytes)
    except _Bomb:
        raise
    except AssetError as error:
        return error
    except (*_DAMAGE, *_DAMAGED_VALUES) as error:
        return AssetError(ErrorCode.CORRUPT, f"a damaged member of a zip archive: {described(error)}")


def _zip_time(info: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*info.date_time, tzinfo=UTC)
    except ValueError:
        return None


def _check_directory(file: BinaryIO) -> None:
    """The library reads the whole directory at once, at ten times its size in memory."""
    file.seek(0, io.SEEK_END)
    file.seek(max(0, file.tell() - _TAIL_BYTES))
    tail = file.read()
    at, wide = tail.rfind(b"PK\5\6"), tail.rfind(b"PK\6\6")
    size = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if size == 0xFFFFFFFF and wide >= 0:
        size = int.from_bytes(tail[wide + 40 : wide + 48], "little")
    if size > _DIRECTORY_BYTES:
        raise AssetError(
            ErrorCode.LIMIT, f"a zip directory of {size} bytes, more than {_DIRECTORY_BYTES} are not read"
        )


class _Info(tarfile.TarInfo):
    """A header; long names and attributes, which the library reads into memory, are bounded."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in _EXTENSIONS and self.size > _EXTENSION_BYTES:
            raise tarfile.ReadError(f"an extended header of {self.size} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]


def _tar(file: BinaryIO, kind: str, budget: _Budget, max_bytes: int) -> Iterator[Member]:
    # Every byte of the stream counts: what is skipped has to come out of the compression too.
    plain = cast(BinaryIO, budget.reading(_plain(file, kind)))
    with tarfile.open(
        fileobj=plain, mode="r|", tarinfo=_Info, encoding="utf-8", errors="backslashreplace"
    ) as archive:
        for info in archive:
            # The library keeps every header that it has seen.
            archive.members = []  # type: ignore[attr-defined]
            if info.isfile() and not info.name.startswith(_HIDDEN):
                mtime = datetime.fromtimestamp(info.mtime, UTC) if 0 < info.mtime < _LATEST else None
                yield Member(info.name, info.size, mtime, _tar_body(archive, info, max_bytes))


def _tar_body(archive: tarfile.TarFile, info: tarfile.TarInfo, max_bytes: int) -> Fetched | AssetError:
    file = archive.extractfile(info)
    if file is None:
        return AssetError(ErrorCode.CORRUPT, "a member of a tar archive that is no file")
    try:
        return spooled(_blocks(cast(BinaryIO, file)), max_bytes)
    except _Bomb:
        raise
    except AssetError as error:
        return error


def _plain(file: BinaryIO, kind: str) -> BinaryIO:
    """The uncompressed stream of an archive."""
    compression = kind.partition("+")[2]
    file.seek(0)
    if not compression:
        return file
    openers: dict[str, Callable[[BinaryIO], Any]] = {"gzip": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    if compression in openers:
        return cast(BinaryIO, openers[compression](file))
    return cast(BinaryIO, pa.CompressedInputStream(pa.PythonFile(_Unowned(file), "r"), compression))


class _Unowned(io.RawIOBase):
    """A file that a reader may close without closing it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        return len(block)
