"""Pictures of hits for people: decoded from the source in a child that a hostile file may crash."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from queue import SimpleQueue
from typing import Any, BinaryIO, cast

from PIL import Image

from operators.decode.preview import ENTRY
from operators.isolation.decoders import Decoders
from pipelines.explore.assets import Asset, Assets
from pipelines.explore.kept import Kept
from pipelines.thumbnails import NoTokens
from schemas.card import ImageInput, Modality
from schemas.config import DecodeConfig
from schemas.errors import AssetError, ErrorCode
from schemas.space import Space

LIMITS = DecodeConfig(timeout_seconds=20, cpu_seconds=60, memory_bytes=2 << 30)
"""Somebody waits for it."""
_QUALITY = 82
_KEPT_BYTES = 64 << 20
_REFERENCE = "asset"
_PDF = "application/pdf"


class Pictures:
    """JPEGs of places in assets; the last ones are kept. May be called by several threads."""

    def __init__(self, assets: Assets, space: Space, at_once: int = 2, entry: str = ENTRY) -> None:
        self._assets, self._space = assets, space
        self._idle: SimpleQueue[Decoders] = SimpleQueue()
        self._all = [Decoders(LIMITS, entry) for _ in range(at_once)]
        for one in self._all:
            self._idle.put(one)
        self._kept = Kept(_KEPT_BYTES)

    def jpeg(self, asset: Asset, side: int, page: int | None = None, at_ms: int = 0) -> bytes:
        """A picture with the area of a square of `side` pixels, at most.

        Args:
            asset: an image, a PDF or a video; another shows nothing.
            side: in pixels.
            page: of a PDF, counted from 1.
            at_ms: of a video.

        Raises:
            AssetError: as `Assets.fetch`, and what the decoder raises; UNSUPPORTED for what shows nothing.
        """
        part = shown_as(asset, page, at_ms)
        return self._kept.get((asset.uri, side, page, at_ms), lambda: self._made(asset, side, part))

    def close(self) -> None:
        """End the children."""
        for one in self._all:
            one.close()

    def _made(self, asset: Asset, side: int, part: dict[str, Any]) -> bytes:
        want = ImageInput(fit="contain", side=side)
        update = {"modalities": tuple(Modality), "image": want, "frame": want}
        card = self._space.card.model_copy(update=update)
        request = io.BytesIO(json.dumps({"parts": [{**part, "uri": _REFERENCE}]}).encode())
        with self._decoders() as decoders:

            def opened(_reference: str) -> BinaryIO:
                return self._assets.fetch(asset).file

            _, segments = decoders.decode(request, asset.uri, self._space.recipe, card, NoTokens(), opened)
            with closing(cast(Any, segments)):
                pixels = next(iter(segments)).parts[0].array
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "JPEG", quality=_QUALITY)
        return out.getvalue()

    @contextmanager
    def _decoders(self) -> Iterator[Decoders]:
        one = self._idle.get()
        try:
            yield one
        finally:
            self._idle.put(one)


def shown_as(asset: Asset, page: int | None, at_ms: int) -> dict[str, Any]:
    """The part of an interleaved document that shows a place of an asset, without its `uri`.

    Raises:
        AssetError: UNSUPPORTED, it shows nothing.
    """
    kind = (asset.media_type or "").partition("/")[0]
    if asset.media_type == _PDF:
        return {"type": "pdf", "page": page or 1}
    if kind == "image":
        return {"type": "image"}
    if kind == "video":
        return {"type": "video", "start_ms": at_ms}
    raise AssetError(ErrorCode.UNSUPPORTED, f"{asset.media_type or 'an asset of unknown type'} shows nothing")
