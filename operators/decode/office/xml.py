"""XML of office files, without entities, DTDs or the network; and what their libraries raise, as AssetErrors."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from lxml import etree

from operators.compressed import ZIP_DAMAGE
from schemas.errors import AssetError, ErrorCode, described, from_storage

PART_BYTES = 128 << 20
"""Of one XML part: as a tree it takes about ten times that in memory."""

_DAMAGE = (
    *ZIP_DAMAGE,
    etree.LxmlError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    AssertionError,
    struct.error,
)


def parse_xml(data: bytes) -> Any:
    """The root element.

    Raises:
        AssetError: CORRUPT.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        return etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise AssetError(ErrorCode.CORRUPT, f"XML: {error}") from error


@contextmanager
def reported(what: str) -> Iterator[None]:
    """The many exceptions of libraries on damaged files as CORRUPT; storage and memory keep their own type."""
    try:
        yield
    except AssetError:
        raise
    except _DAMAGE as error:
        raise AssetError(ErrorCode.CORRUPT, f"{what}: {described(error)}") from error
    except OSError as error:
        if from_storage(error):
            raise
        raise AssetError(ErrorCode.CORRUPT, f"{what}: {described(error)}") from error


def check_parts(file: BinaryIO) -> None:
    """Refuse an office file with a part that would be parsed as a whole and is too large for that.

    Raises:
        AssetError: LIMIT, CORRUPT.
    """
    with reported("zip"), zipfile.ZipFile(file) as archive:
        large = max(
            archive.infolist(), key=lambda member: member.file_size * member.filename.endswith(".xml")
        )
        if large.filename.endswith(".xml") and large.file_size > PART_BYTES:
            raise AssetError(
                ErrorCode.LIMIT, f"{large.filename} has {large.file_size} bytes, {PART_BYTES} are parsed"
            )
    file.seek(0)
