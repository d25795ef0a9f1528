"""Any text-only sentence-transformers model: tokens where assets are read, the forward pass on the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from operators.model.batching import embed_in_batches, pad
from operators.model.bert.shape import SETTINGS_FILE, TextShape, pooling_modes
from operators.model.contract import Engine, Inputs
from operators.model.device import (
    hold_products_in,
    pick_device,
    product_dtype,
    products_in,
    quiet_transformers,
    token_budget,
)
from operators.model.digest import check_weights, weights_digest
from operators.model.source import ModelSource, card_widths, license_of, loading, modules_of, read_json
from operators.model.tokens import FastTokenizer
from operators.parts import Part, PartKind
from schemas.card import Limits, Modality, ModelCard, TokenCosts
from schemas.errors import AssetError, ErrorCode, ModelError, Stage

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

FAMILY = "sentence-transformer"
_PREPROCESSING = "sentence-transformer/1"
_RECOUNT_MARGIN = 4


@dataclass(frozen=True, slots=True)
class SentenceTransformerSpec:
    """A text model saved by sentence-transformers, not loaded."""

    source: ModelSource
    card: ModelCard
    concurrent: ClassVar[bool] = True

    @classmethod
    def read(cls, source: ModelSource, widths: Sequence[int] = ()) -> SentenceTransformerSpec:
        """The spec of a model folder or hub id; configs and digest are read, weights are not loaded.

        Args:
            source: where the model is.
            widths: Matryoshka widths that it was trained for, besides the full one.

        Raises:
            ModelError: not a sentence-transformers model of safetensors, or one that needs foreign code.
        """
        source = source.pinned()
        folder = source.folder()
        return cls(source, _card(source.model_id, folder, widths))

    def preparer(self, role: str) -> TextPreparer:
        """Tokenization with the prompt of a role or task."""
        return TextPreparer(
            FastTokenizer.from_folder(self.source.folder()), self.card, self.card.prompt(role)
        )

    def load(self, device: str | None = None, threads: int | None = None, *, exact: bool = False) -> Engine:
        """The model on a device, with bfloat16 products where it has them; most run on the encoder that is packed here.

        Raises:
            ModelError: the weights cannot be read, or are not those of the card.
        """
        folder = self.source.folder()
        check_weights(folder, self.card)
        chosen = pick_device(device, threads)
        dtype = product_dtype(chosen, exact=exact)
        with loading(self.card.model_id):
            return _engine(folder, chosen, dtype)


def _engine(folder: Path, device: torch.device, dtype: torch.dtype) -> Engine:
    shape = TextShape.read(folder)
    if shape is not None:
        from operators.model.bert.text import BertText

        return BertText.load(folder, shape, device, dtype)
    from sentence_transformers import SentenceTransformer

    quiet_transformers()
    model = SentenceTransformer(str(folder), device=str(device), local_files_only=True)
    return TextEngine(model.eval(), token_budget(device), dtype)


@dataclass(frozen=True, slots=True)
class TextPreparer:
    """Text to one part of token ids, prompt and special tokens included."""

    counter: FastTokenizer
    card: ModelCard
    prompt: str

    def prepare(self, inputs: Inputs) -> tuple[list[tuple[Part, ...]], list[int]]:
        """One `TOKENS` part for each input, and its length.

        Raises:
            AssetError: not text, empty, or longer than the model takes (stage `prepare`).
        """
        ids = [self._ids(parts) for parts in inputs]
        return [(Part(PartKind.TOKENS, data=row),) for row in ids], [len(row) for row in ids]

    def _ids(self, parts: tuple[Part, ...]) -> npt.NDArray[np.int32]:
        text = text_of(parts, self.card.model_id)
        counter = self.counter
        ids = np.concatenate([counter.prefix, counter.ids(self.prompt + text), counter.suffix])
        if len(ids) > self.card.limits.tokens:
            raise over_limit(len(ids), self.card)
        return ids


class TextEngine:
    """A text model as sentence-transformers runs it; inputs are parts of token ids.

    Its weights are held in the type of its products.
    """

    def __init__(self, model: SentenceTransformer, budget: int, dtype: torch.dtype) -> None:
        hold_products_in(dtype, model)
        self.model = model
        self._budget = budget
        self._dtype = dtype
        self._pad = getattr(model[0].tokenizer, "pad_token_id", None) or 0

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Vectors of prepared inputs: float32 `[inputs, dim]`."""
        rows = [parts[0].array for parts in inputs]
        return embed_in_batches(self._forward, rows, [len(row) for row in rows], self._budget)

    def _forward(self, rows: list[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        import torch

        ids, mask = pad(rows, self._pad)
        device = self.model.device
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids).to(device),
            "attention_mask": torch.from_numpy(mask).to(device),
        }
        with torch.inference_mode(), products_in(self._dtype, device):
            vectors = self.model(features)["sentence_embedding"]
        return np.asarray(vectors.float().cpu().numpy(), np.float32)


def text_of(parts: tuple[Part, ...], model_id: str) -> str:
    """The text of an input that must be text alone, its parts on lines of their own.

    Raises:
        AssetError: another kind of part, or nothing but white space (stage `prepare`).
    """
    for part in parts:
        if part.kind is not PartKind.TEXT:
            detail = f"model '{model_id}' embeds text only, got {part.kind}"
            raise AssetError(ErrorCode.MODALITY, detail, Stage.PREPARE)
    text = "\n".join(part.text or "" for part in parts)
    if not text.strip():
        raise AssetError(ErrorCode.EMPTY, "the text is empty", Stage.PREPARE)
    return text


def over_limit(tokens: int, card: ModelCard) -> AssetError:
    """The error of an input that is longer than the model's sequence."""
    detail = f"{tokens} tokens, model '{card.model_id}' takes {card.limits.tokens}"
    return AssetError(ErrorCode.LIMIT, detail, Stage.PREPARE)


def _card(model_id: str, folder: Path, widths: Sequence[int]) -> ModelCard:
    digest = weights_digest(folder)
    config = read_json(folder / "config_sentence_transformers.json")
    prompts = {name: text for name, text in (config.get("prompts") or {}).items() if text}
    dim = _dim(folder)
    limit = _max_tokens(folder)
    overhead = _overhead(FastTokenizer.from_folder(folder), prompts)
    return ModelCard(
        model_id=model_id,
        weights_digest=digest,
        family=FAMILY,
        modalities=(Modality.TEXT,),
        widths=card_widths(dim, widths, model_id),
        limits=Limits(
            tokens=limit, text_tokens=limit - overhead, images=0, audio_ms=0, video_ms=0, video_frames=0
        ),
        token_costs=TokenCosts(image=0, frame=0, audio_per_second=0),
        prompts=prompts,
        preprocessing=_PREPROCESSING,
        license=license_of(folder),
    )


def _overhead(tokenizer: FastTokenizer, prompts: dict[str, str]) -> int:
    # A chunk cut out of a text can take a token or two more than it did inside it.
    longest = max((len(tokenizer.ids(prompt)) for prompt in prompts.values()), default=0)
    return len(tokenizer.prefix) + len(tokenizer.suffix) + longest + _RECOUNT_MARGIN


def _dim(folder: Path) -> int:
    dim = 0
    for name, _, config in modules_of(folder):
        if name == "Pooling":
            if not config.get("include_prompt", True):
                raise ModelError(f"'{folder}' leaves prompts out of its pooling, which embedlake cannot do")
            modes = pooling_modes(config)
            dim = len(modes) * (config.get("embedding_dimension") or config["word_embedding_dimension"])
        elif name == "Dense":
            dim = config["out_features"]
    if not dim:
        raise ModelError(f"'{folder}' has neither a Pooling nor a Dense module: its width is unknown")
    return dim


def _max_tokens(folder: Path) -> int:
    positions = read_json(folder / "config.json").get("max_position_embeddings")
    saved = read_json(folder / SETTINGS_FILE).get("max_seq_length")
    tokenizer = read_json(folder / "tokenizer_config.json").get("model_max_length")
    limits = [int(n) for n in (saved or tokenizer, positions) if n]
    if not limits:
        raise ModelError(f"'{folder}' does not say how many tokens it takes (max_seq_length)")
    return min(limits)
