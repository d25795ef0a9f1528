"""The shape of a fused model; it is saved beside the weights as JSON."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from operators.model.bert.shape import Shape
from schemas.card import Frozen


class FusedConfig(Frozen):
    """Sizes of the trunk, of what is projected into it, and of what comes out.

    A picture or frame takes `picture_tokens` soft tokens and two boundary tokens. `vision_groups` are the widths of
    the parts of its features; the first is what the vision tower's classifier tells `image_classes` apart by.
    `image_anchors`, and `image_components` of each group, are sizes of the fitted regression beside it. A row of the
    audio tower, `audio_dim` wide, ends with its `audio_candidates` likeliest of `audio_words` tokens and their
    probabilities; a sound takes about as many soft tokens as it has words, `audio_tokens` at most.
    """

    hidden: int = Field(default=384, gt=0)
    layers: int = Field(default=6, gt=0)
    heads: int = Field(default=12, gt=0)
    intermediate: int = Field(default=1536, gt=0)
    vocabulary: int = Field(default=30_522, gt=0)
    positions: int = Field(default=512, gt=0)
    vision_groups: tuple[int, ...] = (1280, 416, 416)
    picture_tokens: int = Field(default=5, gt=1)
    image_classes: int = Field(default=1_000, gt=0)
    image_anchors: int = Field(default=4_408, gt=0)
    image_components: tuple[int, ...] = (256, 192, 192)
    audio_dim: int = Field(default=400, gt=0)
    audio_candidates: int = Field(default=8, gt=0)
    audio_words: int = Field(default=50_257, gt=0)
    audio_tokens: int = Field(default=160, gt=0)
    widths: tuple[int, ...] = (384, 256, 128, 64)

    @property
    def vision_dim(self) -> int:
        """The width of a picture's features."""
        return sum(self.vision_groups)

    @property
    def trunk(self) -> Shape:
        """Sizes of the encoder that reads all tokens."""
        return Shape(
            hidden=self.hidden,
            layers=self.layers,
            heads=self.heads,
            intermediate=self.intermediate,
            vocabulary=self.vocabulary,
            positions=self.positions,
        )

    @property
    def dim(self) -> int:
        """The full width of a vector."""
        return self.widths[0]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is no multiple of {self.heads} heads")
        if len(self.vision_groups) != len(self.image_components):
            raise ValueError(
                f"vision_groups {self.vision_groups} need as many image_components, got {self.image_components}"
            )
        if self.audio_dim <= 2 * self.audio_candidates:
            raise ValueError(
                f"audio_dim {self.audio_dim} leaves no state beside {self.audio_candidates} candidates"
            )
        if list(self.widths) != sorted(set(self.widths), reverse=True) or not self.widths:
            raise ValueError(f"widths must be distinct and descend, got {self.widths}")
        return self


GEMINI_SHAPE = FusedConfig(hidden=768, layers=12, heads=12, intermediate=3072, widths=(3072, 1536, 768))
"""The widths of Gemini Embedding 2 on a trunk of BERT-base's size."""
