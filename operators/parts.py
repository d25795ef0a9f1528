"""Parts: what a model input is made of, in memory.

Media travel as uint8 pixels and int16 samples: a quarter of float32's bytes, in memory and between processes.
No Arrow here: decoders' children would load it, and need none (`operators.part_columns`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.card import Modality, ModelCard


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
