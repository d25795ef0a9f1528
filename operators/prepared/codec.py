"""Kept media as bytes: pictures as JPEG, sound as FLAC, text as it is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import soundfile
from PIL import Image

from operators.decode.image import fit_pixels
from operators.parts import Part, PartKind
from schemas.card import ImageInput

FORMAT = 1
"""Of what `pack` writes; another one is decoded from the originals again."""

QUALITY, SUBSAMPLING = 92, 0
"""Of JPEGs, with colour at full resolution: pictures are small, and a model sees each of their pixels."""
_RATE = 16_000
"""In the FLAC's header alone: samples are kept at the rate of the model that they were decoded for."""

Layout = list[dict[str, Any]]
Samples = npt.NDArray[np.int16]
Wants = dict[PartKind, ImageInput | None]
"""The pixels that are wanted of an image and of a frame; None takes them as they were kept."""


def pack(parts: Sequence[Part]) -> tuple[bytes, Layout]:
    """Parts as bytes, and where each one's lie: rows of `schemas.tables.KEPT_PART`."""
    streams = _streams(parts)
    bodies = [
        _flac(streams[index]) if index in streams else b"" if part.kind is PartKind.AUDIO else _jpeg(part)
        for index, part in enumerate(parts)
    ]
    layout = [
        {
            "kind": str(part.kind),
            "text": part.text,
            "shape": None if part.data is None else list(part.data.shape),
            "at_ms": part.at_ms,
            "size": len(body),
        }
        for part, body in zip(parts, bodies, strict=True)
    ]
    return b"".join(bodies), layout


def unpack(media: bytes | pa.Buffer, layout: Layout, wants: Wants) -> tuple[Part, ...]:
    """The parts again: texts and sounds as they were, pictures nearly so, and at the size that is wanted.

    Args:
        media: as `pack` returned it.
        layout: as `pack` returned it.
        wants: resolutions.
    """
    body, at = memoryview(media), 0
    parts, sound = [], np.empty(0, np.int16)
    for row in layout:
        kind = PartKind(row["kind"])
        data: npt.NDArray[Any] | None = None
        piece, at = body[at : at + row["size"]], at + row["size"]
        if kind is PartKind.AUDIO:
            sound = _samples(piece) if row["size"] else sound
            data, sound = sound[: row["shape"][0]], sound[row["shape"][0] :]
        elif kind in (PartKind.IMAGE, PartKind.FRAME):
            data = _pixels(piece, wants[kind])
        parts.append(Part(kind, row["text"], data, row["at_ms"]))
    return tuple(parts)


def _streams(parts: Sequence[Part]) -> dict[int, Samples]:
    """Sounds that follow one another on one clock as one stream, by the place of the first: one costs less."""
    streams: dict[int, list[Samples]] = {}
    at_ms = 0
    for index, part in enumerate(parts):
        if part.kind is not PartKind.AUDIO:
            continue
        if not streams or part.at_ms is None or part.at_ms <= at_ms:
            streams[index] = []
        streams[max(streams)].append(part.array)
        at_ms = part.at_ms or 0
    return {index: np.concatenate(pieces) for index, pieces in streams.items()}


def _jpeg(part: Part) -> bytes:
    if part.data is None:
        return b""
    out = io.BytesIO()
    Image.fromarray(part.data).save(out, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
    return out.getvalue()


def _pixels(body: memoryview, want: ImageInput | None) -> npt.NDArray[np.uint8]:
    image: Image.Image = Image.open(io.BytesIO(body), formats=["JPEG"])
    return np.array(image) if want is None else fit_pixels(image, want)


def _flac(samples: Samples) -> bytes:
    """Nothing for no samples, of which libsndfile makes no file."""
    out = io.BytesIO()
    if len(samples):
        soundfile.write(out, samples, _RATE, format="FLAC", subtype="PCM_16")
    return out.getvalue()


def _samples(body: memoryview) -> Samples:
    found: Samples = soundfile.read(io.BytesIO(body), dtype="int16")[0]
    return found
