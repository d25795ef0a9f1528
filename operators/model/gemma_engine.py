"""EmbeddingGemma 2 on an actor: sequences and media packed without padding, the towers before the text model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.sentence_transformer import modules
from transformers import EmbeddingGemma2Model, Gemma4AudioFeatureExtractor

from operators.model.contract import Inputs
from operators.model.device import weights_dtype
from operators.model.gemma_inputs import GemmaLayout, sound_settings
from operators.model.gemma_towers import Hearing, Vision
from operators.model.packed_attention import NAME, Group, Pack
from operators.model.packing import Packed, packs
from operators.model.source import loading, modules_of
from operators.model.upload import Upload
from operators.parts import Part, PartKind

_NO_MASKS = {"full_attention": None, "sliding_attention": None}


class GemmaEngine:
    """The loaded model with the pooling that it was saved with; inputs come from `GemmaPreparer`."""

    def __init__(
        self,
        model: EmbeddingGemma2Model,
        head: Sequence[torch.nn.Module],
        extractor: Gemma4AudioFeatureExtractor,
        layout: GemmaLayout,
        budget: int,
    ) -> None:
        self.model = model
        self.text: Any = model.language_model
        self.text.set_attn_implementation(NAME)
        self._head = head
        self._layout = layout
        self._budget = budget
        self._upload = Upload(model.device)
        self._pad = int(model.config.get_text_config().pad_token_id or 0)
        self.vision = Vision(model, layout, budget, self._upload) if layout.vision else None
        self.hearing = Hearing(model, extractor, layout, budget, self._upload) if layout.audio else None

    @classmethod
    def read(
        cls, folder: Path, model_id: str, device: torch.device, budget: int, *, exact: bool = False
    ) -> GemmaEngine:
        """Load a model folder onto a device.

        Args:
            folder: holds the model.
            model_id: what an error calls it.
            device: where it runs.
            budget: most tokens of one pass of the text model, and most patches of one pass of the vision tower.
            exact: whether in float32 on any device.

        Raises:
            ModelError: the weights cannot be read.
        """
        dtype = weights_dtype(device, exact=exact)
        with loading(model_id):
            model: Any = EmbeddingGemma2Model.from_pretrained(
                folder, dtype=dtype, local_files_only=True, use_safetensors=True
            )
            head = [getattr(modules, name).load(str(path)) for name, path, _ in modules_of(folder)[1:]]
        extractor: Any = Gemma4AudioFeatureExtractor.from_dict(sound_settings(folder))
        moved = [module.to(device).eval() for module in head]
        return cls(model.to(device).eval(), moved, extractor, GemmaLayout.read(folder), budget)

    def compile(self) -> None:
        """Fuse what lies between the matrix products of a layer; the first passes then take minutes, once.

        Each kind of layer is compiled once for any number of tokens, whatever batches come.
        """
        towers = (self.vision, self.hearing)
        for layer in (*self.text.layers, *(layer for tower in towers if tower for layer in tower.layers)):
            layer.compile(dynamic=True)

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Vectors of prepared inputs of any mix of modalities: float32 `[inputs, dim]`."""
        batches = packs([len(parts[0].array) for parts in inputs], self._budget)
        with torch.inference_mode():
            # The device is waited for once, at the end: meanwhile the next pack is laid out and copied.
            found = torch.cat([self._forward([inputs[i] for i in batch]) for batch in batches])
        vectors = np.empty(found.shape, np.float32)
        vectors[np.concatenate(batches)] = found.float().cpu().numpy()
        return vectors

    def _forward(self, inputs: list[tuple[Part, ...]]) -> torch.Tensor:
        packed = Packed(tuple(len(parts[0].array) for parts in inputs))
        ids = np.concatenate([parts[0].array for parts in inputs])
        pack = Pack(packed, self._upload)
        hidden = self.text(
            inputs_embeds=self._embeddings(ids, [part for parts in inputs for part in parts[1:]])[None],
            position_ids=self._upload(packed.positions())[None],
            attention_mask=_NO_MASKS,
            pack=pack,
        ).last_hidden_state[0]
        return self._pooled(hidden, pack.groups)

    def _embeddings(self, ids: npt.NDArray[np.int32], media: list[Part]) -> torch.Tensor:
        """Token embeddings of a pack, with soft tokens in the slots of the media: `[tokens, width]`."""
        layout = self._layout
        seen, heard = np.isin(ids, (layout.image, layout.frame)), ids == layout.sound
        words = np.where(seen | heard, self._pad, ids).astype(np.int64)
        found: torch.Tensor = self.model.get_input_embeddings()(self._upload(words))
        sounds = [part.array for part in media if part.kind is PartKind.AUDIO]
        pictures = [part.array for part in media if part.kind is not PartKind.AUDIO]
        if pictures and self.vision:
            found[self._upload(np.flatnonzero(seen))] = self.vision(pictures).to(found.dtype)
        if sounds and self.hearing:
            found[self._upload(np.flatnonzero(heard))] = self.hearing(sounds).to(found.dtype)
        return found

    def _pooled(self, hidden: torch.Tensor, groups: list[Group]) -> torch.Tensor:
        """The model's own head over each sequence's tokens, in float32: `[sequences, dim]`."""
        features: dict[str, Any] = {}
        pooled = []
        for group in groups:
            tokens = group.cut(hidden).float()
            own = torch.ones_like(tokens[..., 0]) if group.own is None else group.own
            features = self._head[0]({"token_embeddings": tokens, "attention_mask": own.long()})
            pooled.append(features["sentence_embedding"])
        features = {"sentence_embedding": torch.cat(pooled)}
        for module in self._head[1:]:
            features = module(features)
        vectors: torch.Tensor = features["sentence_embedding"]
        return vectors
