"""What retrieval sets hold, media as files or samples, and how a model of the project embeds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from operators.decode.image import fit_pixels
from operators.decode.pdf import pdf_page
from operators.model.batching import embed_in_batches
from operators.model.contract import Engine, Inputs, ModelSpec, Preparer
from operators.parts import Part, PartKind
from pipelines.training.data.raster import open_picture
from schemas.card import Modality, ModelCard, Role
from schemas.errors import ModelError
from schemas.recipe import Recipe

Vectors = npt.NDArray[np.float32]
SAMPLE_RATE = 16_000
_TOKEN_BUDGET = 16_384
_HELD = 256


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A picture by its path; SVG is rendered."""

    path: Path


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """int16 samples `[samples]`, mono, 16 kHz."""

    samples: npt.NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class PdfPage:
    """A page of a PDF, counted from 1: its render and its text, as the pipeline gives them to a model."""

    path: Path
    page: int


Medium = str | ImageFile | Sound | PdfPage
Item = tuple[Medium, ...]
"""One input: its media in order; a string is text."""


class SpecEmbedder:
    """A model of the project, loaded once; the same preparation, batches and engine as in a pipeline's run.

    `engine` stands in for the model's own: another way to make one vector of the same prepared inputs.
    """

    def __init__(
        self,
        spec: ModelSpec,
        device: str | None = None,
        threads: int | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.card: ModelCard = spec.card
        self.engine: Engine = engine or spec.load(device, threads, exact=True)
        self._preparers: dict[str, Preparer] = {role: spec.preparer(role) for role in Role}

    def embed(self, items: Sequence[Item], role: str = Role.DOCUMENT) -> Vectors:
        """Vectors of items at the full width, of any length: float32 `[items, dim]`.

        Raises:
            ModelError: the model takes no such medium.
            AssetError: an item cannot be decoded or prepared.
        """
        blocks = (items[at : at + _HELD] for at in range(0, len(items), _HELD))
        found = [self.embed_parts([self._parts(i, role) for i in block], role) for block in blocks]
        return np.concatenate([np.empty((0, self.card.dim), np.float32), *found])

    def embed_parts(self, inputs: Inputs, role: str = Role.DOCUMENT) -> Vectors:
        """Vectors of decoded inputs at the full width, of any length: float32 `[inputs, dim]`.

        Raises:
            AssetError: an input cannot be prepared.
        """
        prepared, tokens = self._preparers[role].prepare(inputs)
        return embed_in_batches(self.engine.embed, prepared, tokens, _TOKEN_BUDGET)

    def _parts(self, item: Item, role: str) -> tuple[Part, ...]:
        return tuple(part for medium in item for part in parts_of(medium, self.card, self._preparers[role]))


def parts_of(medium: Medium, card: ModelCard, preparer: Preparer) -> tuple[Part, ...]:
    """A medium as the model input parts that the pipeline would make of it.

    Raises:
        ModelError: the model takes no pictures, or no sound of this rate.
    """
    if isinstance(medium, str):
        return (Part(PartKind.TEXT, medium),)
    if isinstance(medium, PdfPage):
        with medium.path.open("rb") as file:
            return pdf_page(file, medium.page, Recipe(), card, preparer.counter).parts
    if isinstance(medium, Sound):
        if not card.accepts(Modality.AUDIO) or card.sample_rate != SAMPLE_RATE:
            raise ModelError(f"model '{card.model_id}' takes no sound at {SAMPLE_RATE} Hz")
        return (Part(PartKind.AUDIO, data=medium.samples),)
    if card.image is None:
        raise ModelError(f"model '{card.model_id}' takes no pictures")
    return (Part(PartKind.IMAGE, data=fit_pixels(open_picture(medium.path), card.image)),)
