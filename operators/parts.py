"""Parts: what a model input is made of, in memory and as an Arrow column.

Media travel as uint8 pixels and int16 samples: a quarter of float32's bytes, in memory and between processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schemas.card import Modality, ModelCard
from schemas.tables import PART


class PartKind(StrEnum):
    """`TOKENS` is text that a model's `prepare` has already tokenized."""

    TEXT = "text"
    TOKENS = "tokens"
    IMAGE = "image"
    FRAME = "frame"
    AUDIO = "audio"


DTYPES: dict[PartKind, Any] = {
    PartKind.TOKENS: np.int32,
    PartKind.IMAGE: np.uint8,
    PartKind.FRAME: np.uint8,
    PartKind.AUDIO: np.int16,
}
"""Of each kind's `data`."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of an input, in the caller's order.

    `data` by kind: image and frame uint8 `[height, width, 3]` RGB; audio int16 `[samples]`, mono at the
    card's sample rate; tokens int32 `[tokens]`. `at_ms` places a frame or a sound on the segment's clock.
    """

    kind: PartKind
    text: str | None = None
    data: npt.NDArray[Any] | None = None
    at_ms: int | None = None

    @property
    def array(self) -> npt.NDArray[Any]:
        """The media of a part that has some.

        Raises:
            ValueError: the part is text.
        """
        if self.data is None:
            raise ValueError(f"a {self.kind} part holds no array")
        return self.data


@dataclass(frozen=True, slots=True)
class Locator:
    """Where in its asset a segment lies; fields as in `schemas.tables.LOCATOR`, `page_end` None for one page."""

    page: int | None = None
    page_end: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    char_start: int | None = None
    char_end: int | None = None
    row_start: int | None = None
    row_end: int | None = None

    def key(self) -> str:
        """A canonical text of the locator, for the segment's digest."""
        pages, times = f"p{self.page}-{self.page_end}", f"t{self.start_ms}-{self.end_ms}"
        return f"{pages}:{times}:c{self.char_start}-{self.char_end}:r{self.row_start}-{self.row_end}"


@dataclass(frozen=True, slots=True)
class Segment:
    """What gets one vector: model input parts, where they came from, and a text for people to read."""

    modality: Modality
    parts: tuple[Part, ...]
    locator: Locator = field(default_factory=Locator)
    text: str | None = None


def to_arrow(inputs: Iterable[tuple[Part, ...]]) -> pa.Array:
    """A `list<PART>` column with one row for each input; media are copied once."""
    rows = list(inputs)
    parts = list(chain.from_iterable(rows))
    columns = {
        "kind": pa.array([str(p.kind) for p in parts], pa.string()),
        "text": pa.array([p.text for p in parts], pa.string()),
        "data": _bytes(
            [None if p.data is None else p.data.astype(DTYPES[p.kind], copy=False) for p in parts]
        ),
        "shape": pa.array(
            [None if p.data is None else p.data.shape for p in parts], PART.field("shape").type
        ),
        "at_ms": pa.array([p.at_ms for p in parts], pa.int64()),
    }
    flat = pa.StructArray.from_arrays([columns[f.name] for f in PART], fields=list(PART))
    return pa.ListArray.from_arrays(_ends([len(row) for row in rows]).astype(np.int32), flat)


def _bytes(arrays: Sequence[npt.NDArray[Any] | None]) -> pa.LargeBinaryArray:
    """The bytes of arrays, each one value."""
    # Arrow's own builder grows as it goes: twice the memory of a block of media, and twice the time.
    flat = [np.empty(0, np.uint8) if a is None else a.reshape(-1).view(np.uint8) for a in arrays]
    valid = pa.array([a is not None for a in arrays], pa.bool_())
    data = np.concatenate([np.empty(0, np.uint8), *flat])
    buffers = [valid.buffers()[1], pa.py_buffer(_ends([len(a) for a in flat])), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(arrays), buffers)


def _ends(lengths: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where values of these lengths lie: the offsets of an Arrow array."""
    return np.cumsum([0, *lengths], dtype=np.int64)


def from_arrow(column: pa.Array | pa.ChunkedArray) -> list[tuple[Part, ...]]:
    """The inputs of a `list<PART>` column; arrays view Arrow's memory and are read-only, nothing is copied.

    A null row gives an empty tuple.
    """
    if isinstance(column, pa.ChunkedArray):
        return [row for chunk in column.chunks for row in from_arrow(chunk)]
    flat = column.flatten()
    fields = (flat.field(name).to_pylist() for name in ("kind", "text", "shape", "at_ms"))
    data = flat.field("data")
    parts = iter([_part(data[i], *row) for i, row in enumerate(zip(*fields, strict=True))])
    lengths = column.value_lengths().fill_null(0).to_pylist()
    return [tuple(next(parts) for _ in range(length)) for length in lengths]


def _part(data: pa.Scalar, kind: str, text: str | None, shape: list[int] | None, at_ms: int | None) -> Part:
    dtype = PartKind(kind)
    array = np.frombuffer(data.as_buffer(), DTYPES[dtype]).reshape(shape) if shape is not None else None
    return Part(dtype, text, array, at_ms)


def token_estimate(parts: Iterable[Part], card: ModelCard) -> int:
    """Tokens of media parts by the card's costs; text is counted by the model's own tokenizer, not here."""
    total = 0.0
    for part in parts:
        if part.kind is PartKind.IMAGE:
            total += card.token_costs.image
        elif part.kind is PartKind.FRAME:
            total += card.token_costs.frame
        elif part.kind is PartKind.AUDIO:
            total += card.token_costs.audio_per_second * len(part.array) / card.sample_rate
        elif part.kind is PartKind.TOKENS:
            total += len(part.array)
    return int(np.ceil(total))
