"""What happens to files: cut off, bits flipped, zeroed, mixed up; and headers and nestings that nobody would write."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random], bytes]


def truncated(data: bytes, draw: random.Random) -> bytes:
    """Cut off anywhere, most often in the header."""
    return data[: int(len(data) * draw.random() ** 2)]


def beheaded(data: bytes, draw: random.Random) -> bytes:
    """Without its first bytes."""
    return data[draw.randint(1, 64) :]


def flipped(data: bytes, draw: random.Random) -> bytes:
    """A few bits flipped anywhere."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 4, 32))):
        out[draw.randrange(len(out))] ^= 1 << draw.randrange(8)
    return bytes(out)


def flipped_header(data: bytes, draw: random.Random) -> bytes:
    """Bits flipped in the first 64 bytes after the signature."""
    out = bytearray(data)
    for _ in range(draw.choice((1, 3))):
        out[draw.randrange(min(8, len(out) - 1), min(72, len(out)))] ^= 1 << draw.randrange(8)
    return bytes(out)


def giant(data: bytes, draw: random.Random) -> bytes:
    """A length, a count or a size near the head set to the most that it holds."""
    at = draw.randrange(4, max(5, min(512, len(data) - 8)))
    value = draw.choice(
        (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\xff\xff", b"\x7f" * 8)
    )
    return data[:at] + value + data[at + len(value) :]


def zeroed(data: bytes, draw: random.Random) -> bytes:
    """A span of zeros, as a hole in a sparse copy leaves it."""
    at = draw.randrange(len(data))
    size = draw.choice((1, 16, 512, len(data)))
    return data[:at] + bytes(min(size, len(data) - at)) + data[at + size :]


def repeated(data: bytes, draw: random.Random) -> bytes:
    """A span written many times over."""
    at = draw.randrange(len(data))
    size = draw.randint(1, 64)
    return data[:at] + data[at : at + size] * draw.choice((3, 200)) + data[at:]


def shuffled(data: bytes, draw: random.Random) -> bytes:
    """Two spans of the file exchanged."""
    first, second, third = sorted(draw.randrange(len(data)) for _ in range(3))
    return data[:first] + data[second:third] + data[first:second] + data[third:]


def garbage(data: bytes, draw: random.Random) -> bytes:
    """The signature, and random bytes after it."""
    return data[: draw.choice((4, 12, 32))] + draw.randbytes(draw.choice((16, 2048)))


MUTATIONS: tuple[Mutation, ...] = (
    truncated, beheaded, flipped, flipped_header, giant, zeroed, repeated, shuffled, garbage,
)  # fmt: skip


def _png(width: int, height: int, depth: int = 8, rows: int = 0) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    packed = zlib.compress(bytes(rows * (1 + width)), 9)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def _tiff_loop() -> bytes:
    """A TIFF whose first page is followed by itself, for ever."""
    entries = [
        (256, 4, 1, 8),
        (257, 4, 1, 8),
        (258, 3, 1, 8),
        (262, 3, 1, 1),
        (273, 4, 1, 0),
        (279, 4, 1, 64),
    ]
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + packed + struct.pack("<I", 8)


def _gif_of(frames: int) -> bytes:
    """One pixel, many frames."""
    frame = b"\x21\xf9\x04\x04\x01\0\0\0" + b"\x2c\0\0\0\0\1\0\1\0\0\2\2\x44\1\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff" + frame * frames + b";"


def _wav(seconds: int) -> bytes:
    """A header that promises far more than there is."""
    data = bytes(4000)
    size = seconds * 16_000
    form = struct.pack("<IHHIIHH", 16, 1, 1, 8000, 16_000, 2, 16)
    return b"RIFF" + struct.pack("<I", size) + b"WAVEfmt " + form + b"data" + struct.pack("<I", size) + data


CRAFTED: dict[str, bytes] = {
    "empty.txt": b"",
    "zeros.bin": bytes(4096),
    "zeros.jpg": bytes(4096),
    "spaces.txt": b" \n" * 4096,
    "huge.png": _png(0x7FFFFFFF, 0x7FFFFFFF),
    "wide.png": _png(0x7FFFFFFF, 1),
    "bomb.png": _png(8_000, 8_000, rows=8_000),
    "bomb16.png": _png(100_000, 100_000, 16),
    "huge.bmp": b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 2**31 - 1, 2**31 - 1, 1, 24, 0) + bytes(40),
    "huge.gif": b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(6) + b"\x2c\0\0\0\0\xff\xff\xff\xff\0\2\2\x44\1\0;",
    "loop.tiff": _tiff_loop(),
    "frames.gif": _gif_of(3000),
    "promise.wav": _wav(100_000),
    "deep.json": b'{"parts": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "deeper.json": b'{"a":' * 100_000 + b'{"parts": ["x"]}' + b"}" * 100_000,
    "deep.html": b"<!doctype html><html>" + b"<div>" * 20_000 + b"words",
    "quotes.json": b'{"parts": ["' + b'\\"' * 50_000 + b'"]}',
    "deep.pdf": b"%PDF-1.4\n1 0 obj" + b"[" * 100_000 + b"]" * 100_000 + b"endobj trailer<</Root 1 0 R>>",
    "loop.pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 1 0 R/Kids[1 0 R]>>endobj trailer<</Root 1 0 R>>",
    "line.txt": b"a" * 500_000,
    "words.txt": b"a " * 100_000,
    "comments.html": b"<!---->" * 9_000 + b"<",
    "controls.txt": "\u202e\u0000\ufffe\ud7ff words".encode() * 400,
}
"""Files that were never sound: bombs, loops, absurd sizes, nestings."""


def mutants(seeds: dict[str, bytes], count: int, seed: int) -> dict[str, bytes]:
    """So many mutated files by name: every seed meets every mutation in turn, and the names give the seed away."""
    draw, out = random.Random(seed), {}
    names, at = sorted(seeds), 0
    while len(out) < count:
        name, mutation = names[at % len(names)], MUTATIONS[at // len(names) % len(MUTATIONS)]
        out[f"{at:05d}-{mutation.__name__}-{name}"] = mutation(seeds[name], draw)
        at += 1
    return out
