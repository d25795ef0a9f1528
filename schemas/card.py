"""The model card: what a model accepts, what it returns, and the digest that names its weights.

A card is all that the driver needs: it plans, derives every vector column and refuses foreign vectors
without loading a weight. It travels in the Arrow metadata of the tables that hold the model's vectors.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Frozen(BaseModel):
    """Base of every typed config: immutable, and a typo in a key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Modality(StrEnum):
    """What a segment is. `PAGE` is a rendered page with its text; `DOCUMENT` is an interleaved one."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    PAGE = "page"
    DOCUMENT = "document"


class Role(StrEnum):
    """What an input is for; the card maps it to a prompt."""

    QUERY = "query"
    DOCUMENT = "document"


class ImageInput(Frozen):
    """The pixels that the model sees of an image, a video frame or a page.

    `square`: resized to `side` x `side`. `contain`: the aspect ratio is kept, each side a multiple of
    `multiple`, the area at most `side` * `side`.
    """

    fit: Literal["square", "contain"] = "square"
    side: int = Field(gt=0)
    multiple: int = Field(default=1, gt=0)

    @property
    def exact(self) -> bool:
        """Whether pixels are those of the model's own processor to the bit: vectors are compared to four digits."""
        return self.fit == "contain"


class Limits(Frozen):
    """The longest input that fits one vector; segmentation cuts to these."""

    tokens: int = Field(gt=0, description="tokens of one sequence, all parts together")
    text_tokens: int = Field(gt=0)
    images: int = Field(default=6, ge=0)
    audio_ms: int = Field(default=30_000, ge=0)
    video_ms: int = Field(default=32_000, ge=0)
    video_frames: int = Field(default=32, ge=0)


class TokenCosts(Frozen):
    """Tokens that one part takes in the model's sequence, for budgets and for the census."""

    image: int = Field(ge=0)
    frame: int = Field(ge=0)
    audio_per_second: float = Field(ge=0)


class ModelCard(Frozen):
    """The contract between a model and everything around it.

    `weights_digest` is the sha256 over the model's files: two cards with equal digests make equal vectors.
    `prompts` maps a role or a task name to the prefix of *text* inputs.
    """

    model_id: str
    weights_digest: str
    family: str
    modalities: tuple[Modality, ...]
    widths: tuple[int, ...]
    image: ImageInput | None = None
    frame: ImageInput | None = None
    sample_rate: int = 16_000
    limits: Limits
    token_costs: TokenCosts
    prompts: dict[str, str] = Field(default_factory=dict)
    preprocessing: str = Field(description="version of the model's own preprocessing; part of the space")
    license: str = ""
    provenance: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _widths_descend(self) -> Self:
        if not self.widths or list(self.widths) != sorted(set(self.widths), reverse=True):
            raise ValueError(f"widths must be distinct and descend, got {self.widths}")
        return self

    @property
    def dim(self) -> int:
        """The full width."""
        return self.widths[0]

    def accepts(self, modality: Modality) -> bool:
        """Whether the model embeds this modality."""
        return modality in self.modalities

    @property
    def longest_prompt(self) -> int:
        """Characters of the longest text prefix: no fewer than its tokens."""
        return max(map(len, self.prompts.values()), default=0)

    def prompt(self, role: str) -> str:
        """The text prefix for a role or task, empty when the card has none."""
        return self.prompts.get(role, "")
