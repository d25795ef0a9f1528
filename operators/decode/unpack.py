"""Compressed files and zips, opened within limits on what they unpack to: size, ratio, members."""

from __future__ import annotations

import tempfile
import zipfile
from typing import BinaryIO, cast

from operators.compressed import DAMAGE, PLAIN_METHODS, ZIP_DAMAGE, blocks, member_blocks, zip_directory
from schemas.errors import AssetError, ErrorCode, from_storage
from schemas.recipe import UnpackRecipe

_SPOOL_BYTES = 64 << 20
_FREE_BYTES = 16 << 20
"""Unpacked bytes that no ratio is asked of: a page of zeros is no bomb."""


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
        for block in blocks(file, kind):
            total += len(block)
            if total > limits.max_bytes:
                raise AssetError(ErrorCode.LIMIT, f"{kind} of more than {limits.max_bytes} bytes unpacked")
            if total > _FREE_BYTES and total > limits.max_ratio * packed:
                raise AssetError(ErrorCode.LIMIT, f"{kind} of {packed} bytes unpacks to more than {total}")
            spool.write(block)
    except AssetError:
        spool.close()
        raise
    except (*DAMAGE, OSError, ValueError) as error:
        spool.close()
        if from_storage(error):
            raise
        raise AssetError(ErrorCode.CORRUPT, f"{kind}: {error or type(error).__name__}") from error
    spool.seek(0)
    return spool


def open_zip(file: BinaryIO, limits: UnpackRecipe) -> zipfile.ZipFile:
    """A zip whose members together keep to the limits, whatever is read of it afterwards.

    The sizes in the directory are added up here, and `zip_member` gives no more than they say. A library that
    reads the zip by itself may unpack a deflated member that lies before it notices: its process bounds that.

    Raises:
        AssetError: LIMIT, ENCRYPTED, UNSUPPORTED for other compression than deflate, CORRUPT.
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
    if len(members) > limits.max_members:
        raise AssetError(
            ErrorCode.LIMIT, f"a zip of {len(members)} members, the recipe allows {limits.max_members}"
        )
    odd = next((member for member in members if member.compress_type not in PLAIN_METHODS), None)
    if odd is not None:
        raise AssetError(
            ErrorCode.UNSUPPORTED, f"zip member {odd.filename}: compression method {odd.compress_type}"
        )
    if any(member.flag_bits & 1 for member in members):
        raise AssetError(ErrorCode.ENCRYPTED, "the zip's members ask for a password")
    return archive


def zip_member(archive: zipfile.ZipFile, name: str) -> bytes | None:
    """The bytes of a member of a checked zip; None where it has none of that name.

    Raises:
        AssetError: CORRUPT.
    """
    try:
        return b"".join(member_blocks(archive, archive.getinfo(name)))
    except KeyError:
        return None
    except (*ZIP_DAMAGE, ValueError) as error:
        raise AssetError(ErrorCode.CORRUPT, f"zip member {name}: {error}") from error


def _check_count(file: BinaryIO, limits: UnpackRecipe) -> None:
    """Refuse a directory of too many members before it is read: it takes twenty times its bytes in memory."""
    directory = zip_directory(file)
    if directory is None:
        raise AssetError(ErrorCode.CORRUPT, "a zip without its directory: cut off")
    count, size = directory
    if count > limits.max_members or size > limits.max_members << 10:
        detail = (
            f"a zip of {count} members in {size} bytes of directory, the recipe allows {limits.max_members}"
        )
        raise AssetError(ErrorCode.LIMIT, detail)


def _size(file: BinaryIO) -> int:
    file.seek(0, 2)
    return file.tell()
