"""Kept media as bytes: pictures as JPEG, sound as FLAC, text as it is."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from operators.decode.image import target_size
from operators.parts import Part, PartKind
from schemas.card import ImageInput

FORMAT = 1
"""Of what `pack` writes; another one is decoded from the originals again."""

QUALITY, SUBSAMPLING = 92, 0
"""Of JPEGs, with colour at full resolution: pictures are small, and a model sees each of their pixels."""
_BLOCK = 1 << 14
"""Samples of a FLAC frame: about a second, so that Python is not asked often."""
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
    size = image.size if want is None else target_size(*image.size, want)
    return np.array(image if size == image.size else image.resize(size, Image.Resampling.BICUBIC))


def _flac(samples: Samples) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as container:
        options = {"frame_size": str(_BLOCK)}
        stream = container.add_stream("flac", rate=_RATE, layout="mono", format="s16", options=options)
        for start in range(0, len(samples), _BLOCK):
            frame = av.AudioFrame.from_ndarray(samples[None, start : start + _BLOCK], "s16", "mono")
            frame.sample_rate, frame.pts = _RATE, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def _samples(body: memoryview) -> Samples:
    with av.open(io.BytesIO(body), "r", format="flac") as container:
        return np.concatenate(
            [np.empty(0, np.int16), *(f.to_ndarray()[0] for f in container.decode(audio=0))]
        )
