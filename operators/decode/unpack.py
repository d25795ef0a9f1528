"""Compressed files and zips, opened within limits on what they unpack to: size, ratio, members."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, cast

from schemas.errors import AssetError, ErrorCode
from schemas.recipe import UnpackRecipe

_BLOCK = 1 << 20
_SPOOL_BYTES = 64 << 20
_FREE_BYTES = 16 << 20
"""Unpacked bytes that no ratio is asked of: a page of zeros is no bomb."""
_XZ_MEMORY = 128 << 20
"""Of a decoder; the largest preset takes 65 MiB."""
_END, _END_BYTES = b"PK\5\6", 22
_DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, lzma.LZMAError, struct.error, NotImplementedError)


def compression(head: bytes) -> str | None:
    """The name of the compression that a file's first bytes show; None for none that is read."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def unpacked(file: BinaryIO, kind: str, limits: UnpackRecipe) -> BinaryIO:
    """A seekable copy of what a compressed file holds; in memory while small, then in a temporary file.

    Raises:
        AssetError: LIMIT over the bytes or the ratio, CORRUPT.
    """
    file.seek(0, 2)
    packed = file.tell()
    file.seek(0)
    spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES))  # noqa: SIM115 (the caller closes it)
    total = 0
    try:
        for block in _OPENERS[kind](file):
            total += len(block)
            if total > limits.max_bytes:
                raise AssetError(ErrorCode.LIMIT, f"{kind} of more than {limits.max_bytes} bytes unpacked")
            if total > _FREE_BYTES and total > limits.max_ratio * packed:
                raise AssetError(ErrorCode.LIMIT, f"{kind} of {packed} bytes unpacks to more than {total}")
            spool.write(block)
    except AssetError:
        spool.close()
        raise
    except (*_DAMAGE, OSError, ValueError) as error:
        spool.close()
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise AssetError(ErrorCode.CORRUPT, f"{kind}: {error or type(error).__name__}") from error
    spool.seek(0)
    return spool


def open_zip(file: BinaryIO, limits: UnpackRecipe) -> zipfile.ZipFile:
    """A zip whose members together keep to the limits, whatever is read of it afterwards.

    No member can give more than the size in the directory, which is what is added up here.

    Raises:
        AssetError: LIMIT, ENCRYPTED, CORRUPT.
    """
    _check_count(file, limits)
    try:
        archive = zipfile.ZipFile(file)
    except (*ZIP_DAMAGE, ValueError) as error:
        raise AssetError(ErrorCode.CORRUPT, f"zip: {error}") from error
    members = archive.infolist()
    size = sum(member.file_size for member in members)
    packed = sum(member.compress_size for member in members)
    if size > limits.max_bytes:
        raise AssetError(
            ErrorCode.LIMIT, f"a zip of {size} bytes unpacked, the recipe allows {limits.max_bytes}"
        )
    if size > _FREE_BYTES and size > limits.max_ratio * max(1, min(packed, _size(file))):
        raise AssetError(ErrorCode.LIMIT, f"a zip of {packed} bytes that unpacks to {size}")
    if any(member.flag_bits & 1 for member in members):
        raise AssetError(ErrorCode.ENCRYPTED, "the zip's members ask for a password")
    return archive


def zip_member(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """The bytes of a member of a checked zip; None where it has none of that name.

    Raises:
        AssetError: CORRUPT.
    """
    try:
        return archive.read(name)
    except KeyError:
        return None
    except (*ZIP_DAMAGE, ValueError) as error:
        raise AssetError(ErrorCode.CORRUPT, f"zip member {name}: {error}") from error


def _check_count(file: BinaryIO, limits: UnpackRecipe) -> None:
    """Refuse a directory of too many members before it is read: it takes twenty times its bytes in memory."""
    size = _size(file)
    file.seek(max(0, size - _END_BYTES - 0xFFFF))
    tail = file.read()
    at = tail.rfind(_END)
    if at < 0 or at + _END_BYTES > len(tail):
        raise AssetError(ErrorCode.CORRUPT, "a zip without its directory: cut off")
    count = int.from_bytes(tail[at + 10 : at + 12], "little")
    directory = int.from_bytes(tail[at + 12 : at + 16], "little")
    if count > limits.max_members or directory > limits.max_members << 10:
        raise AssetError(ErrorCode.LIMIT, f"a zip of {count} members, the recipe allows {limits.max_members}")


def _size(file: BinaryIO) -> int:
    file.seek(0, 2)
    return file.tell()


def _gzip(file: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=file) as stream:
        while block := stream.read(_BLOCK):
            yield block


def _bzip2(file: BinaryIO) -> Iterator[bytes]:
    with bz2.BZ2File(file) as stream:
        while block := stream.read(_BLOCK):
            yield block


def _xz(file: BinaryIO) -> Iterator[bytes]:
    """One stream after another, each decoder within its memory."""
    data = file.read(_BLOCK)
    while data:
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        while not decoder.eof:
            block = decoder.decompress(data, _BLOCK)
            data = file.read(_BLOCK) if decoder.needs_input else b""
            if not block and not data and decoder.needs_input:
                raise EOFError("cut off")
            yield block
        data = (decoder.unused_data or file.read(_BLOCK)).lstrip(b"\0")


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    import pyarrow as pa

    with pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd") as stream:
        while block := stream.read(_BLOCK):
            yield block


_OPENERS: Mapping[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    "gzip": _gzip,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstd": _zstd,
}
_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
