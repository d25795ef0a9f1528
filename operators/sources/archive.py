"""Archives: the members of a zip or a tar, one after another, each read once and none unpacked to a folder."""

from __future__ import annotations

import posixpath
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import BinaryIO, cast

import pyarrow as pa

from operators.compressed import (
    BLOCK_BYTES,
    DAMAGE,
    METHODS,
    ZIP_DAMAGE,
    compression,
    member_blocks,
    stream,
    zip_directory,
)
from operators.sources.spool import Fetched, spooled
from operators.sources.tar_header import TAR_BLOCK, TarHeader
from schemas.errors import AssetError, ErrorCode, described, from_storage
from schemas.recipe import ArchiveRecipe
from schemas.tables import MEMBER_MARK

HEAD_BYTES = 4096
_FREE_BYTES = 256 << 20
"""What an archive may hold in any case, however small it is itself."""
_DIRECTORY_BYTES = 64 << 20
_LATEST = 2**33
_DAMAGE = (*DAMAGE, *ZIP_DAMAGE, tarfile.TarError)
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
        packed = compression(head)
        if packed is None:
            return None
        kind = f"tar+{packed}"
        return kind if _is_tar(_plain(file, kind).read(TAR_BLOCK)) else None
    except (*_DAMAGE, *_DAMAGED_VALUES, OSError):
        return None
    finally:
        file.seek(0)


def members(
    file: BinaryIO,
    kind: str,
    size: int,
    recipe: ArchiveRecipe,
    max_bytes: int,
    taken: Iterable[str] = (),
) -> Iterator[Member]:
    """The files of an archive in the order of the archive; folders, links and devices are left out.

    Args:
        file: the archive, seekable.
        kind: as `archive_kind` says.
        size: its bytes.
        recipe: its limits.
        max_bytes: of one member; a larger one is an error of its own.
        taken: names that no member is given.

    Raises:
        AssetError: CORRUPT where the archive itself is damaged, LIMIT for too many members or a bomb; members
            before that point have been given.
    """
    names = _Names(taken)
    budget = _Budget(int(max(_FREE_BYTES, size * recipe.max_ratio)))
    found = _zip(file, budget, max_bytes) if kind == "zip" else _tar(file, kind, budget, max_bytes)
    try:
        for count, member in enumerate(found):
            if count == recipe.max_members:
                raise AssetError(ErrorCode.LIMIT, f"more than {recipe.max_members} members")
            yield Member(names.given(member.name), member.size, member.mtime, member.body)
    except (*_DAMAGE, *_DAMAGED_VALUES) as error:
        raise AssetError(ErrorCode.CORRUPT, f"damaged {kind} archive: {described(error)}") from error
    except OSError as error:
        if from_storage(error):
            raise
        raise AssetError(ErrorCode.CORRUPT, f"damaged {kind} archive: {described(error)}") from error


class Beside:
    """What a file in an archive may refer to: the files of the same zip. A tar cannot be read out of order."""

    def __init__(self, file: BinaryIO, kind: str, size: int, recipe: ArchiveRecipe, max_bytes: int) -> None:
        self._file, self._kind, self._max_bytes = file, kind, max_bytes
        self._most = int(max(_FREE_BYTES, size * recipe.max_ratio))
        self._archive: zipfile.ZipFile | None = None

    def open(self, reference: str, name: str) -> Fetched:
        """The file at a reference that is relative to the member `name`.

        Raises:
            AssetError: INVALID_DOCUMENT where there is none; ENCRYPTED, UNSUPPORTED, TOO_LARGE, LIMIT, CORRUPT.
        """
        if self._kind != "zip":
            detail = f"{reference}: a file in a tar cannot refer to one beside it; pack them as a zip"
            raise AssetError(ErrorCode.INVALID_DOCUMENT, detail)
        # Its directory was checked when the members were read.
        self._archive = self._archive or zipfile.ZipFile(self._file)
        path = posixpath.normpath(posixpath.join(posixpath.dirname(name), reference))
        try:
            info = self._archive.getinfo(path)
        except KeyError:
            raise AssetError(ErrorCode.INVALID_DOCUMENT, f"{reference}: no {path} in the archive") from None
        body = _zip_body(self._archive, info, _Budget(self._most), self._max_bytes)
        if isinstance(body, AssetError):
            raise body
        return body


class _Names:
    """Names of which none is given twice, nor to what lies in an archive inside: those have `!/`."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._seen = dict.fromkeys(taken, 1)

    def given(self, name: str) -> str:
        """The name, with a number before its suffix where it is taken."""
        name = own = name.replace(MEMBER_MARK, "%21/")
        suffix = PurePosixPath(name).suffix
        stem, again = name.removesuffix(suffix), self._seen.get(name, 0)
        while own in self._seen:
            again += 1
            own = f"{stem}#{again}{suffix}"
        self._seen[name] = max(again, 1)
        self._seen.setdefault(own, 1)
        return own


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
            bool(head[:TAR_BLOCK].strip(b"\0"))
            and tarfile.TarInfo.frombuf(head[:TAR_BLOCK], "utf-8", "backslashreplace").isfile()
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

    def take(self, count: int) -> None:
        """Spend so many bytes."""
        self.taken += count
        if self.taken > self.most:
            raise _Bomb(self.most)

    def reading(self, file: BinaryIO) -> _Counted:
        """The file, until the budget is spent."""
        return _Counted(file, self)

    def charged(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """The blocks, until the budget is spent."""
        for block in blocks:
            self.take(len(block))
            yield block


@dataclass(frozen=True, slots=True)
class _Counted:
    file: BinaryIO
    budget: _Budget

    def read(self, size: int) -> bytes:
        block = self.file.read(size)
        self.budget.take(len(block))
        return block


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
    if info.compress_type not in METHODS:
        detail = f"a member of a zip archive in compression method {info.compress_type}"
        return AssetError(ErrorCode.UNSUPPORTED, f"{detail}; pack it with deflate")
    try:
        return spooled(budget.charged(member_blocks(archive, info)), max_bytes)
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
    _, size = zip_directory(file) or (0, 0)
    if size > _DIRECTORY_BYTES:
        raise AssetError(
            ErrorCode.LIMIT, f"a zip directory of {size} bytes, more than {_DIRECTORY_BYTES} are not read"
        )


def _tar(file: BinaryIO, kind: str, budget: _Budget, max_bytes: int) -> Iterator[Member]:
    # Every byte of the stream counts: what is skipped has to come out of the compression too.
    plain = cast(BinaryIO, budget.reading(_plain(file, kind)))
    given = _Budget(budget.most)
    with tarfile.open(
        fileobj=plain, mode="r|", tarinfo=TarHeader, encoding="utf-8", errors="backslashreplace"
    ) as archive:
        for info in archive:
            # The library keeps every header that it has seen.
            archive.members = []  # type: ignore[attr-defined]
            if info.isfile() and not info.name.startswith(_HIDDEN):
                mtime = datetime.fromtimestamp(info.mtime, UTC) if 0 < info.mtime < _LATEST else None
                yield Member(info.name, info.size, mtime, _tar_body(archive, info, given, max_bytes))


def _tar_body(
    archive: tarfile.TarFile, info: tarfile.TarInfo, given: _Budget, max_bytes: int
) -> Fetched | AssetError:
    if info.issparse():
        return AssetError(ErrorCode.UNSUPPORTED, "a sparse member of a tar archive; pack it without --sparse")
    file = archive.extractfile(info)
    if file is None:
        return AssetError(ErrorCode.CORRUPT, "a member of a tar archive that is no file")
    try:
        return spooled(given.charged(iter(lambda: file.read(BLOCK_BYTES), b"")), max_bytes)
    except _Bomb:
        raise
    except AssetError as error:
        return error


def _plain(file: BinaryIO, kind: str) -> BinaryIO:
    """The uncompressed stream of an archive."""
    packed = kind.partition("+")[2]
    file.seek(0)
    return cast(BinaryIO, stream(file, packed)) if packed else file
