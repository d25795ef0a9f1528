"""Compressed bytes in blocks of bounded memory, whoever packed them: streams, and a zip's directory and members."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from typing import Any, BinaryIO

BLOCK_BYTES = 1 << 20
DAMAGE = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, lzma.LZMAError, struct.error, NotImplementedError)
PLAIN_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""What the standard library reads within memory, and all that office files may use."""
METHODS = PLAIN_METHODS | {zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}

_DECODER_BYTES = 128 << 20
"""Of an xz or LZMA decoder; the largest preset takes 65 MiB."""
_TAIL_BYTES = 66_000
"""Where a zip's end records lie: 22 bytes, a comment of 64 KiB, and the 64-bit form."""
_END, _END_WIDE, _LOCATOR = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_END_BYTES, _END_WIDE_BYTES, _LOCATOR_BYTES = 22, 56, 20
_MAGIC = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)


def compression(head: bytes) -> str | None:
    """The name of the compression that a file's first bytes show; None for none that is read."""
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def blocks(file: BinaryIO, kind: str) -> Iterator[bytes]:
    """What a compressed file holds, from where it stands, `BLOCK_BYTES` at most at a time.

    Raises:
        EOFError, OSError without a number, `DAMAGE`: it is damaged, or wants more memory than any preset takes.
    """
    return _OPENERS[kind](file)


def stream(file: BinaryIO, kind: str) -> io.RawIOBase:
    """`blocks` as a file that is read forward."""
    return _Stream(blocks(file, kind))


def zip_directory(file: BinaryIO) -> tuple[int, int] | None:
    """Members and bytes of a zip's directory; None without an end record.

    Of several end records the larger counts: readers differ in the one that they believe.
    """
    size = file.seek(0, io.SEEK_END)
    start = max(0, size - _TAIL_BYTES)
    file.seek(start)
    tail = file.read()
    found = []
    for at in {tail.rfind(_END), len(tail) - _END_BYTES}:
        if at >= 0 and tail.startswith(_END, at) and at + _END_BYTES <= len(tail):
            found.append(struct.unpack_from("<HI", tail, at + 10))
            found += _wide_directories(file, tail[max(0, at - _LOCATOR_BYTES) : at], start + at)
    return (max(n for n, _ in found), max(n for _, n in found)) if found else None


def member_blocks(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """What a zip's member holds, a block at a time, and never more than the directory says.

    Raises:
        `ZIP_DAMAGE`: NotImplementedError for a method that is not one of `METHODS`.
    """
    if info.compress_type in PLAIN_METHODS:
        with archive.open(info) as file:
            while block := file.read(BLOCK_BYTES):
                yield block
        return
    left, crc = info.file_size, 0
    for block in _unpacked_member(archive, info):
        left, crc = left - len(block), zlib.crc32(block, crc)
        if left < 0:
            raise zipfile.BadZipFile(f"more than the {info.file_size} bytes that the directory says")
        yield block
    if left or crc != info.CRC:
        raise zipfile.BadZipFile("bad CRC-32 or size")


def _wide_directories(file: BinaryIO, locator: bytes, end: int) -> Iterator[tuple[int, int]]:
    """Of the 64-bit end records: the one before the locator and the one that the locator points at."""
    if not locator.startswith(_LOCATOR) or len(locator) < _LOCATOR_BYTES:
        return
    before = end - _LOCATOR_BYTES - _END_WIDE_BYTES
    for at in (before, int.from_bytes(locator[8:16], "little")):
        if 0 <= at <= end:
            file.seek(at)
            record = file.read(_END_WIDE_BYTES)
            if record.startswith(_END_WIDE) and len(record) == _END_WIDE_BYTES:
                yield struct.unpack_from("<QQ", record, 32)


def _unpacked_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """Through a decoder of our own: the standard library's reader unpacks bzip2 and LZMA without bound."""
    raw: Any = copy(info)
    raw.compress_type, raw.file_size, raw.CRC = zipfile.ZIP_STORED, info.compress_size, None
    with archive.open(raw) as file:
        decoder: Any = bz2.BZ2Decompressor()
        if info.compress_type == zipfile.ZIP_LZMA:
            decoder = _lzma(file.read(9))
        elif info.compress_type != zipfile.ZIP_BZIP2:
            raise NotImplementedError(f"zip compression method {info.compress_type}")
        left = info.file_size
        # LZMA may end without a mark: then its size does.
        while left > 0 and not decoder.eof:
            data = file.read(BLOCK_BYTES) if decoder.needs_input else b""
            if not data and decoder.needs_input:
                raise EOFError("cut off")
            block = decoder.decompress(data, BLOCK_BYTES)
            left -= len(block)
            yield block


def _lzma(head: bytes) -> lzma.LZMADecompressor:
    """A decoder by the header of a zip's LZMA member: 2 bytes of version, 2 of size, 1 of properties, 4 of memory."""
    if len(head) < 9 or head[2:4] != b"\5\0" or head[4] >= 225:
        raise lzma.LZMAError("no LZMA header")
    memory = int.from_bytes(head[5:9], "little")
    if memory > _DECODER_BYTES:
        raise lzma.LZMAError(f"a dictionary of {memory} bytes")
    rest, lc = divmod(head[4], 9)
    pb, lp = divmod(rest, 5)
    chain = [{"id": lzma.FILTER_LZMA1, "dict_size": max(memory, 4096), "lc": lc, "lp": lp, "pb": pb}]
    try:
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain)
    except ValueError as error:
        raise lzma.LZMAError(str(error)) from error


def _read(file: Any) -> Iterator[bytes]:
    with file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _xz(file: BinaryIO) -> Iterator[bytes]:
    """One stream after another, each decoder within its memory."""
    data = file.read(BLOCK_BYTES)
    while data:
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_DECODER_BYTES)
        while not decoder.eof:
            block = decoder.decompress(data, BLOCK_BYTES)
            data = file.read(BLOCK_BYTES) if decoder.needs_input else b""
            if not block and not data and decoder.needs_input:
                raise EOFError("cut off")
            yield block
        data = (decoder.unused_data or file.read(BLOCK_BYTES)).lstrip(b"\0")


def _zstd(file: BinaryIO) -> Iterator[bytes]:
    import pyarrow as pa  # a decoder's child seldom needs it

    return _read(pa.CompressedInputStream(pa.PythonFile(_Unowned(file), mode="r"), "zstd"))


_OPENERS: Mapping[str, Callable[[BinaryIO], Iterator[bytes]]] = {
    "gzip": lambda file: _read(gzip.GzipFile(fileobj=file)),
    "bzip2": lambda file: _read(bz2.BZ2File(file)),
    "xz": _xz,
    "zstd": _zstd,
}


class _Stream(io.RawIOBase):
    """Blocks as a file."""

    def __init__(self, found: Iterator[bytes]) -> None:
        self._blocks, self._held = found, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._held:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._held = memoryview(block)
        count = min(len(buffer), len(self._held))
        buffer[:count], self._held = self._held[:count], self._held[count:]
        return count


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
