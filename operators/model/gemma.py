"""EmbeddingGemma 2: text, images, sound, video, pages and interleaved documents in one vector space.

`google/embeddinggemma-2` by its hub id or from a folder saved by sentence-transformers. Sequences are laid out
on CPU workers (`gemma_inputs`); the actor turns pixels and samples into features and runs the model
(`gemma_engine`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from operators.model.device import pick_device, quiet_transformers, token_budget
from operators.model.digest import check_weights, weights_digest
from operators.model.gemma_inputs import GemmaLayout, GemmaPreparer
from operators.model.source import ModelSource, card_widths, license_of, modules_of, read_json
from operators.model.tokens import FastTokenizer
from schemas.card import ImageInput, Limits, Modality, ModelCard, TokenCosts
from schemas.errors import ModelError

if TYPE_CHECKING:
    from operators.model.gemma_engine import GemmaEngine

FAMILY = "embedding-gemma2"
_PREPROCESSING = "embedding-gemma2/1"
_CONTEXT = 8_192
_MRL = (512, 256, 128)
_BLOCK = 2
_RECOUNT_MARGIN = 8
_AUDIO_TOKENS_PER_SECOND = 25.0
_VISION = (Modality.IMAGE, Modality.VIDEO, Modality.PAGE, Modality.DOCUMENT)


@dataclass(frozen=True, slots=True)
class EmbeddingGemmaSpec:
    """EmbeddingGemma 2, not loaded."""

    source: ModelSource
    card: ModelCard
    concurrent: ClassVar[bool] = True

    @classmethod
    def read(cls, source: ModelSource, widths: Sequence[int] = ()) -> EmbeddingGemmaSpec:
        """The spec of a model folder or hub id; configs and digest are read, weights are not loaded.

        A folder whose config has no `vision_config` or no `audio_config` gives a card without those modalities.

        Args:
            source: where the model is.
            widths: widths that it was trained for besides the family's own (512, 256, 128).

        Raises:
            ModelError: not EmbeddingGemma 2 in safetensors, or without the modules of sentence-transformers.
        """
        source = source.pinned()
        return cls(source, _card(source.model_id, source.folder(), widths))

    def preparer(self, role: str) -> GemmaPreparer:
        """Sequences with the prompt of a role or task."""
        folder = self.source.folder()
        layout = GemmaLayout.read(folder)
        tokenizer = FastTokenizer.from_folder(folder, layout.controls)
        return GemmaPreparer(tokenizer, self.card, layout, self.card.prompt(role))

    def load(
        self, device: str | None = None, threads: int | None = None, *, exact: bool = False
    ) -> GemmaEngine:
        """The model in bfloat16 on a GPU that has it, in float32 elsewhere and where it must be exact.

        Raises:
            ModelError: the weights cannot be read, or are not those of the card.
        """
        from operators.model.gemma_engine import GemmaEngine

        folder = self.source.folder()
        check_weights(folder, self.card)
        chosen = pick_device(device, threads)
        quiet_transformers()
        return GemmaEngine.read(folder, self.card.model_id, chosen, token_budget(chosen), exact=exact)


def _card(model_id: str, folder: Path, widths: Sequence[int]) -> ModelCard:
    config = read_json(folder / "config.json")
    if config.get("model_type") != "embedding_gemma2":
        raise ModelError(
            f"'{folder}' is not EmbeddingGemma 2: its model_type is {config.get('model_type')!r}"
        )
    modules_of(folder)
    described = read_json(folder / "config_sentence_transformers.json")
    prompts = {name: text for name, text in (described.get("prompts") or {}).items() if text}
    dim = config["text_config"]["embedding_dim"]
    layout = GemmaLayout.read(folder)
    image, frame = (_picture(layout, soft) for soft in (layout.image_tokens, layout.frame_tokens))
    costs = TokenCosts(
        image=layout.image_tokens + _BLOCK,
        frame=layout.frame_tokens + _BLOCK,
        audio_per_second=_AUDIO_TOKENS_PER_SECOND,
    )
    return ModelCard(
        model_id=model_id,
        weights_digest=weights_digest(folder),
        family=FAMILY,
        modalities=_modalities(layout),
        widths=card_widths(dim, (*(w for w in _MRL if w < dim), *widths), model_id),
        image=image if layout.vision else None,
        frame=frame if layout.vision else None,
        sample_rate=layout.sample_rate,
        limits=_limits(prompts, costs),
        token_costs=costs,
        prompts=prompts,
        preprocessing=_PREPROCESSING,
        license=license_of(folder),
    )


def _modalities(layout: GemmaLayout) -> tuple[Modality, ...]:
    vision = _VISION if layout.vision else ()
    return (Modality.TEXT, *vision, *((Modality.AUDIO,) if layout.audio else ()))


def _picture(layout: GemmaLayout, soft_tokens: int) -> ImageInput:
    multiple = layout.patch * layout.pool
    return ImageInput(fit="contain", side=math.isqrt(soft_tokens * multiple**2), multiple=multiple)


def _limits(prompts: dict[str, str], costs: TokenCosts) -> Limits:
    # A prompt has fewer tokens than characters; a chunk can take a few more than it did inside its text.
    overhead = _BLOCK + max((len(prompt) for prompt in prompts.values()), default=0) + _RECOUNT_MARGIN
    return Limits(
        tokens=_CONTEXT,
        text_tokens=_CONTEXT - overhead,
        images=(_CONTEXT - overhead) // costs.image,
        audio_ms=30_000,
        video_ms=32_000,
        video_frames=32,
    )
