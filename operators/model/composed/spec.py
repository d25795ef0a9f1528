"""The composed model that is not loaded: its card, and how its towers are put together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from operators.model.composed import ingredients
from operators.model.composed.engine import ComposedEngine
from operators.model.composed.prepare import ComposedPreparer
from operators.model.device import pick_device, product_dtype, quiet_transformers
from operators.model.source import ModelSource, loading
from operators.model.tokens import FastTokenizer
from schemas.card import ImageInput, Limits, Modality, ModelCard, TokenCosts
from schemas.errors import ModelError

FAMILY = "composed"
WIDTHS = (384, 256, 128, 64)
_PREPROCESSING = "composed/1"
_SIDE = 112
_PATCH_TOKENS = 65
_AUDIO_TOKENS_PER_S = 50.0


@dataclass(frozen=True, slots=True)
class ComposedSpec:
    """MiniLM's text space, pictures projected into it, and speech by its transcript."""

    source: ModelSource
    card: ModelCard
    concurrent: ClassVar[bool] = True

    @classmethod
    def read(cls, source: ModelSource, widths: Sequence[int] = ()) -> ComposedSpec:
        """The spec of the shipped model: no ingredient is opened.

        Raises:
            ModelError: widths were asked for, which the shipped card fixes.
        """
        if widths:
            raise ModelError(f"model '{source.model_id}' has the widths {WIDTHS}: leave the others out")
        return cls(source, _card(source.model_id))

    def preparer(self, role: str) -> ComposedPreparer:
        """Tokenization with the prompt of a role or task."""
        return ComposedPreparer(_tokenizer(), self.card, self.card.prompt(role))

    def load(
        self, device: str | None = None, threads: int | None = None, *, exact: bool = False
    ) -> ComposedEngine:
        """The towers, with bfloat16 products where the device has them (speech in int8 on a CPU, always).

        Every ingredient is verified before.

        Raises:
            ModelError: an ingredient is missing or another one than the card names.
        """
        chosen = pick_device(device, threads)
        files = [ingredient.verified() for ingredient in ingredients.INGREDIENTS]
        text, _, image, speech, speech_tokenizer = files
        from operators.model.bert.text import BertText
        from operators.model.composed.heads import load_heads
        from operators.model.composed.speech import SpeechTower
        from operators.model.composed.vision import VisionTower

        dtype = product_dtype(chosen, exact=exact)
        quiet_transformers()
        with loading(self.card.model_id):
            head, rotation = load_heads(ingredients.HEADS)
            viewer = VisionTower(image).to(chosen)
            viewer.multiply_in(dtype)
            return ComposedEngine(
                text=BertText.load(text.parent, ingredients.TEXT_SHAPE, chosen, dtype),
                vision=viewer,
                speech=SpeechTower(
                    speech,
                    speech_tokenizer,
                    "cuda" if chosen.type == "cuda" else "cpu",
                    threads or len(os.sched_getaffinity(0)),
                ),
                head=head.to(chosen),
                rotation=np.asarray(rotation.numpy(), np.float32),
                tokenizer=_tokenizer(),
                device=chosen,
            )


def _tokenizer() -> FastTokenizer:
    return FastTokenizer.from_folder(ingredients.TOKENIZER.path().parent)


def _card(model_id: str) -> ModelCard:
    picture = ImageInput(side=_SIDE)
    return ModelCard(
        model_id=model_id,
        weights_digest=ingredients.weights_digest(),
        family=FAMILY,
        modalities=tuple(Modality),
        widths=WIDTHS,
        image=picture,
        frame=picture,
        limits=Limits(tokens=8_192, text_tokens=250, images=64, audio_ms=30_000),
        token_costs=TokenCosts(
            image=_PATCH_TOKENS, frame=_PATCH_TOKENS, audio_per_second=_AUDIO_TOKENS_PER_S
        ),
        preprocessing=_PREPROCESSING,
        license="Apache-2.0 AND MIT",
        provenance=(
            *(i.provenance() for i in ingredients.INGREDIENTS),
            "image head and rotation: fitted by pipelines.training.heads on openclipart (public domain), Noto emoji"
            " (Apache-2.0), Fluent emoji (MIT) and CLDR names (Unicode-DFS-2016)",
        ),
    )
