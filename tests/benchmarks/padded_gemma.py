"""EmbeddingGemma 2 as a plain engine runs it: batches padded to their longest row and largest picture, one forward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.sentence_transformer import modules
from transformers import EmbeddingGemma2Model, Gemma4AudioFeatureExtractor

from operators.model.batching import embed_in_batches, pad
from operators.model.gemma_inputs import GemmaLayout, sound_settings
from operators.model.source import modules_of
from operators.parts import Part, PartKind


class PaddedGemma:
    """The model over padded batches within a token budget; inputs come from `GemmaPreparer`."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, budget: int) -> None:
        model: Any = EmbeddingGemma2Model.from_pretrained(folder, dtype=dtype, local_files_only=True)
        heads = [getattr(modules, name).load(str(path)) for name, path, _ in modules_of(folder)[1:]]
        self._model = model.to(device).eval()
        self._head = [module.to(device).eval() for module in heads]
        self._extractor: Any = Gemma4AudioFeatureExtractor.from_dict(sound_settings(folder))
        self._layout = GemmaLayout.read(folder)
        self._budget = budget
        self._pad = int(model.config.get_text_config().pad_token_id or 0)

    def embed(self, inputs: Sequence[tuple[Part, ...]]) -> npt.NDArray[np.float32]:
        """Vectors: float32 `[inputs, dim]`."""
        return embed_in_batches(self._forward, inputs, [len(p[0].array) for p in inputs], self._budget)

    def _forward(self, inputs: list[tuple[Part, ...]]) -> npt.NDArray[np.float32]:
        with torch.inference_mode():
            features = self._features(inputs)
            features["token_embeddings"] = self._model(**features, return_dict=True).last_hidden_state
            for module in self._head:
                features = module(features)
        return np.asarray(features["sentence_embedding"].float().cpu().numpy(), np.float32)

    def _features(self, inputs: list[tuple[Part, ...]]) -> dict[str, Any]:
        device = self._model.device
        ids, mask = pad([parts[0].array for parts in inputs], self._pad)
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids).to(device),
            "attention_mask": torch.from_numpy(mask).to(device),
        }
        media = [part for parts in inputs for part in parts[1:]]
        images, frames, sounds = (
            [part.array for part in media if part.kind is kind]
            for kind in (PartKind.IMAGE, PartKind.FRAME, PartKind.AUDIO)
        )
        if images:
            features["pixel_values"], features["image_position_ids"] = self._patches(images)
        if frames:
            features["pixel_values_videos"], features["video_position_ids"] = self._patches(frames)
            features["num_frames_per_video"] = torch.tensor([len(frames)])
        if sounds:
            waves = [sound.astype(np.float32) / 32_768 for sound in sounds]
            mel = self._extractor(waves, padding="longest", truncation=False, return_tensors="pt")
            features.update(
                {name: mel[name].to(device) for name in ("input_features", "input_features_mask")}
            )
        return features

    def _patches(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> tuple[torch.Tensor, torch.Tensor]:
        size = self._layout.patch
        cut = [_cut(picture, size) for picture in pictures]
        longest = max(len(patches) for patches, _ in cut)
        pixels = np.zeros((len(cut), longest, size * size * 3), np.uint8)
        positions = np.full((len(cut), longest, 2), -1, np.int64)
        for i, (patches, places) in enumerate(cut):
            pixels[i, : len(patches)] = patches
            positions[i, : len(places)] = places
        device = self._model.device
        return torch.from_numpy(pixels).to(device).float() / 255, torch.from_numpy(positions).to(device)


def _cut(picture: npt.NDArray[np.uint8], size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    rows, columns = picture.shape[0] // size, picture.shape[1] // size
    patches = picture.reshape(rows, size, columns, size, 3).swapaxes(1, 2).reshape(rows * columns, -1)
    y, x = np.divmod(np.arange(rows * columns), columns)
    return patches, np.stack([x, y], axis=1)
