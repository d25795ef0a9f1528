"""RTF: the text of a file, without its pictures."""

from __future__ import annotations

from collections.abc import Iterator

from striprtf.striprtf import rtf_to_text

from operators.decode.asset import Asset
from operators.decode.chunk import whole_characters
from operators.decode.office.xml import reported
from operators.decode.readable import Readable, readable_segments
from operators.parts import Segment

RTF_BYTES = 16 << 20
"""The reader looks at each character by itself."""


def decode_rtf(asset: Asset) -> Iterator[Segment]:
    """Chunks of an RTF file's text.

    Raises:
        AssetError: CORRUPT, EMPTY, LIMIT over `RTF_BYTES`.
    """
    source = asset.read(RTF_BYTES).decode("latin-1")
    with reported("RTF"):
        text: str = rtf_to_text(source, errors="replace")  # type: ignore[no-untyped-call]
    yield from readable_segments([Readable(whole_characters(text.strip()))], asset)
