"""Small pictures of assets for a report: an image, a page or a first frame, read again from the source."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from operators.isolation.decoders import decoder
from operators.sources.fetch import Fetcher, Wanted
from operators.sources.spool import Fetched
from pipelines.beside import grants_of
from pipelines.query import any_of
from pipelines.reader import LakeReader
from schemas.config import DecodeConfig
from schemas.errors import AssetError, ErrorCode, SourceError
from schemas.space import Space

SIDE = 96
_QUALITY = 70
_MOST_BYTES = 64 << 20


class NoTokens:
    """Counts nothing: a chunk's text is not shown."""

    splits_at_spaces = True

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        """No token."""
        return np.empty((0, 2), np.int64)

    def count(self, text: str) -> int:
        """None."""
        return 0


def thumbnails(
    reader: LakeReader, corpus: str, space: str, uris: Sequence[str], allow: tuple[str, ...] = ()
) -> dict[str, bytes]:
    """JPEGs of at most `SIDE` pixels a side, by URI; what shows nothing, or cannot be read now, has none.

    Args:
        reader: of the lake.
        corpus: in which.
        space: its recipe and its model's card say how a page or a video is shown.
        uris: of assets.
        allow: further roots that manifests may read.
    """
    if not uris:
        return {}
    made = reader.space(corpus, space)
    table = reader.assets(corpus, space).to_table(filter=any_of(uris))
    rows = table.filter(pc.and_(pc.is_null(table["container"]), pc.is_in(table["modality"], _SHOWN)))
    fetcher = Fetcher(
        storage=reader.storage,
        grants=grants_of(rows, allow),
        max_bytes=min(_MOST_BYTES, made.recipe.max_asset_bytes),
    )
    wanted = [Wanted(r["uri"], r["source"], r["size"], None, r["etag"]) for r in rows.to_pylist()]
    found: dict[str, bytes] = {}
    with suppress(SourceError):
        for index, fetched in fetcher.fetch_all(wanted):
            if isinstance(fetched, Fetched):
                with suppress(AssetError), fetched.file:
                    if (shown := _shown(fetched, wanted[index].uri, made)) is not None:
                        found[wanted[index].uri] = _jpeg(shown)
    return found


_SHOWN = pa.array(["image", "page", "video"])


def _shown(fetched: Fetched, uri: str, made: Space) -> npt.NDArray[np.uint8] | None:
    decode = decoder(DecodeConfig()).decode
    _, segments = decode(fetched.file, uri, made.recipe, made.card, NoTokens(), _refused)
    with closing(cast(Any, segments)):
        parts = next(iter(segments)).parts
    return next((part.array for part in parts if part.data is not None and part.data.ndim == 3), None)


def _refused(reference: str) -> io.BytesIO:
    raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, f"{reference} is not opened for a thumbnail")


def _jpeg(pixels: npt.NDArray[np.uint8]) -> bytes:
    image = Image.fromarray(pixels)
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
