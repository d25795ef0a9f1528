"""The fused model that is not loaded: its card, from the small files of its folder, and how it is put together."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import ValidationError

from operators.model.composed import ingredients
from operators.model.device import pick_device, product_dtype
from operators.model.fused.config import FusedConfig
from operators.model.fused.prepare import FusedPreparer
from operators.model.source import ModelSource, first_line, loading
from operators.model.tokens import FastTokenizer
from schemas.card import ImageInput, Limits, Modality, ModelCard, Role, TokenCosts
from schemas.errors import ModelError

if TYPE_CHECKING:
    from operators.model.fused.efficientnet import VisionTower
    from operators.model.fused.engine import FusedEngine

FAMILY = "fused"
WEIGHTS = Path(__file__).with_name("weights")
INGREDIENTS = (ingredients.TEXT, ingredients.TOKENIZER, ingredients.CLASSIFIER, ingredients.SPEECH)
_CONFIG_FILE, _WEIGHTS_FILE = "fused.json", "model.safetensors"
_PREPROCESSING = "fused/2"
_BOUNDARIES = 2
_SIDE = 224
"""Pixels of a picture's side, as the vision tower takes it."""
_TEXT_TOKENS = 250
"""What the trunk was trained for, less its own markers and what a chunk takes more than inside its text."""
_AUDIO_S = 30
_AUDIO_TOKENS_PER_S = 6.0
"""Word pieces of a fast speaker."""


@dataclass(frozen=True, slots=True)
class FusedSpec:
    """The shipped model, or a folder that `embedlake train` wrote."""

    source: ModelSource
    card: ModelCard
    concurrent: ClassVar[bool] = True

    @classmethod
    def read(cls, source: ModelSource, widths: Sequence[int] = ()) -> FusedSpec:
        """The spec of the shipped model (a source without path) or of a folder; weights are hashed, not loaded.

        Raises:
            ModelError: not a fused model, or widths that its config does not have.
        """
        config = _config(_folder(source))
        wrong = set(widths) - set(config.widths)
        if wrong:
            raise ModelError(f"model '{source.model_id}' has the widths {config.widths}, not {min(wrong)}")
        return cls(source, _card(source, config))

    def preparer(self, role: str) -> FusedPreparer:
        """Tokenization with the prompt of a role or task; a query's question is woven into its text."""
        return FusedPreparer(_tokenizer(), self.card, self.card.prompt(role), asking=role == Role.QUERY)

    def load(
        self, device: str | None = None, threads: int | None = None, *, exact: bool = False
    ) -> FusedEngine:
        """The model, after every ingredient was verified; bfloat16 products where the device has them.

        Its towers are read when the first picture or sound comes.

        Raises:
            ModelError: an ingredient or the weights are missing, or others than the card names.
        """
        if _digest(_folder(self.source)) != self.card.weights_digest:
            raise ModelError(f"the weights of model '{self.card.model_id}' are not those of its card")
        chosen = pick_device(device, threads)
        for ingredient in INGREDIENTS:
            ingredient.verified()
        from operators.model.fused.efficientnet import load_tower
        from operators.model.fused.engine import FusedEngine
        from operators.model.fused.network import load_network
        from operators.model.fused.towers import AudioTower

        @loading(self.card.model_id)
        def vision() -> VisionTower:
            return load_tower(ingredients.CLASSIFIER.verified()).to(chosen)

        @loading(self.card.model_id)
        def hearing() -> AudioTower:
            return AudioTower(ingredients.SPEECH.verified()).to(chosen)

        with loading(self.card.model_id):
            network = load_network(_folder(self.source)).to(chosen)
            return FusedEngine.of(network, vision, hearing, product_dtype(chosen, exact=exact))


def _folder(source: ModelSource) -> Path:
    return WEIGHTS if source.path is None else source.folder()


def _config(folder: Path) -> FusedConfig:
    try:
        return FusedConfig.model_validate_json((folder / _CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValidationError) as error:
        raise ModelError(f"'{folder}' holds no fused model: {_CONFIG_FILE}: {first_line(error)}") from error


def _digest(folder: Path) -> str:
    """sha256 over what was trained and the recorded digests of the ingredients; ingredients are not read."""
    try:
        trained = [
            hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (_CONFIG_FILE, _WEIGHTS_FILE)
        ]
    except OSError as error:
        raise ModelError(f"'{folder}' holds no fused model: {error.strerror}") from error
    return hashlib.sha256("\n".join([*trained, *(i.sha256 for i in INGREDIENTS)]).encode()).hexdigest()


def _tokenizer() -> FastTokenizer:
    return FastTokenizer.from_folder(ingredients.TOKENIZER.path().parent)


def _card(source: ModelSource, config: FusedConfig) -> ModelCard:
    picture = ImageInput(side=_SIDE)
    return ModelCard(
        model_id=source.model_id,
        weights_digest=_digest(_folder(source)),
        family=FAMILY,
        modalities=tuple(Modality),
        widths=config.widths,
        image=picture,
        frame=picture,
        limits=Limits(
            tokens=config.positions,
            text_tokens=_TEXT_TOKENS,
            images=config.positions // (config.picture_tokens + _BOUNDARIES),
            audio_ms=_AUDIO_S * 1_000,
        ),
        token_costs=TokenCosts(
            image=config.picture_tokens + _BOUNDARIES,
            frame=config.picture_tokens + _BOUNDARIES,
            audio_per_second=_AUDIO_TOKENS_PER_S,
        ),
        preprocessing=_PREPROCESSING,
        license="Apache-2.0 AND MIT",
        provenance=tuple(i.provenance() for i in INGREDIENTS),
    )
