"""What a decoder refuses by a file's size and the lengths that it promises, whoever reads it."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode

_RIFF = int.from_bytes(b"RIFF", "big")
_RIFF_UNKNOWN = 0xFFFF_F000
_BOXES = frozenset({b"ftyp", b"styp", b"sidx", b"free", b"skip", b"wide", b"moov", b"moof", b"mdat", b"mfra"})


def check_input(file: BinaryIO, card: ModelCard, modality: Modality) -> None:
    """Refuse what cannot give a vector before any decoder sees it.

    Raises:
        AssetError: MODALITY when the model does not take it, EMPTY for a file without bytes.
    """
    if not card.accepts(modality):
        raise AssetError(ErrorCode.MODALITY, f"{card.model_id} takes no {modality}")
    if file.seek(0, io.SEEK_END) == 0:
        raise AssetError(ErrorCode.EMPTY, "the file has no bytes")
    file.seek(0)


def check_hours(length_us: int | None, max_hours: float) -> None:
    """Refuse media longer than the recipe allows.

    Raises:
        AssetError: LIMIT.
    """
    if length_us is not None and length_us > max_hours * 3_600_000_000:
        raise AssetError(ErrorCode.LIMIT, f"longer than {max_hours:g} hours")


def check_complete(reached_us: int, promised_us: int | None) -> None:
    """Refuse media that ends well before the length in its header.

    Raises:
        AssetError: CORRUPT.
    """
    # Headers are off by an encoder's padding or a last frame: a tenth, at most one second.
    if promised_us is not None and reached_us < promised_us - min(1_000_000, promised_us // 10) - 50_000:
        detail = f"ends at {reached_us / 1e6:.2f} s of the {promised_us / 1e6:.2f} s in its header"
        raise AssetError(ErrorCode.CORRUPT, detail)


def check_uncut(file: BinaryIO) -> None:
    """Refuse a file whose own boxes say that it went on: AVI and fragmented MP4 declare no usable length.

    Raises:
        AssetError: CORRUPT.
    """
    size = file.seek(0, io.SEEK_END)
    at, end = 0, 0
    while at + 16 <= size:
        file.seek(at)
        length, kind, wide = struct.unpack(">I4sQ", file.read(16))
        if at == 0 and length == _RIFF:
            end = 8 + int.from_bytes(kind, "little")
            end = 0 if end > _RIFF_UNKNOWN else end
            break
        length = wide if length == 1 else length
        if kind not in _BOXES or length < 8:
            break
        at = end = at + length
    if end > size:
        raise AssetError(ErrorCode.CORRUPT, f"cut off: {size} bytes of at least {end}")
