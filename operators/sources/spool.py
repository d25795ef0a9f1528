"""An object's bytes, made seekable: in memory while they are few, else in an unnamed temporary file."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO, cast

from schemas.errors import AssetError, ErrorCode, Stage

SPOOL_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Fetched:
    """An asset's bytes, seekable, and the sha256 of them."""

    file: BinaryIO
    content_hash: str
    size: int


def spooled(blocks: Iterable[bytes], max_bytes: int) -> Fetched:
    """Take in a stream, hashing it as it comes.

    Raises:
        AssetError: TOO_LARGE beyond `max_bytes`; and whatever the stream raises.
    """
    spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115 (the asset closes it)
    state, size = hashlib.sha256(), 0
    try:
        for block in blocks:
            size += len(block)
            if size > max_bytes:
                raise too_large(f"more than {max_bytes} bytes", max_bytes)
            state.update(block)
            spool.write(block)
    except BaseException:
        spool.close()
        raise
    spool.seek(0)
    return Fetched(spool, state.hexdigest(), size)


def too_large(size: str, max_bytes: int) -> AssetError:
    """The error of an object that is larger than the recipe allows."""
    detail = f"{size}, the recipe's max_asset_bytes is {max_bytes}"
    return AssetError(ErrorCode.TOO_LARGE, detail, Stage.FETCH)
