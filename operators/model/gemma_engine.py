"""EmbeddingGemma 2 on an actor: pixels to patches and samples to mel frames on their way into the forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from operators.model.batching import embed_in_batches, pad
from operators.model.contract import Inputs
from operators.model.device import weights_dtype
from operators.model.gemma_inputs import GemmaLayout, sound_settings
from operators.model.source import first_line, modules_of
from operators.parts import Part, PartKind
from schemas.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import EmbeddingGemma2Model

_INT16 = 32_768.0


class GemmaEngine:
    """The loaded model with the pooling that it was saved with; inputs come from `GemmaPreparer`."""

    def __init__(
        self,
        model: EmbeddingGemma2Model,
        head: Sequence[torch.nn.Module],
        extractor: Callable[..., Any],
        layout: GemmaLayout,
        budget: int,
    ) -> None:
        self._model = model
        self._head = head
        self._extractor = extractor
        self._layout = layout
        self._budget = budget
        self._pad = int(model.config.get_text_config().pad_token_id or 0)

    @classmethod
    def read(cls, folder: Path, model_id: str, device: torch.device, budget: int) -> GemmaEngine:
        """Load a model folder onto a device; `budget` is the most padded tokens of one forward pass.

        Raises:
            ModelError: the weights cannot be read.
        """
        from sentence_transformers.sentence_transformer import modules
        from transformers import EmbeddingGemma2Model, Gemma4AudioFeatureExtractor

        try:
            model: Any = EmbeddingGemma2Model.from_pretrained(
                folder, dtype=weights_dtype(device), local_files_only=True, use_safetensors=True
            )
            head = [getattr(modules, name).load(str(path)) for name, path, _ in modules_of(folder)[1:]]
        except (OSError, ValueError, RuntimeError, KeyError, AttributeError) as error:
            raise ModelError(f"model '{model_id}' cannot be loaded: {first_line(error)}") from error
        extractor: Any = Gemma4AudioFeatureExtractor.from_dict(sound_settings(folder))
        moved = [module.to(device).eval() for module in head]
        return cls(model.to(device).eval(), moved, extractor, GemmaLayout.read(folder), budget)

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Vectors of prepared inputs of any mix of modalities: float32 `[inputs, dim]`."""
        tokens = [len(parts[0].array) for parts in inputs]
        return embed_in_batches(self._forward, inputs, tokens, self._budget)

    def _forward(self, inputs: list[tuple[Part, ...]]) -> npt.NDArray[np.float32]:
        import torch

        with torch.inference_mode():
            features = self._features(inputs)
            features["token_embeddings"] = self._model(**features, return_dict=True).last_hidden_state
            for module in self._head:
                features = module(features)
        return np.asarray(features["sentence_embedding"].float().cpu().numpy(), np.float32)

    def _features(self, inputs: list[tuple[Part, ...]]) -> dict[str, Any]:
        import torch

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
            features.update(self._mel(sounds))
        return features

    def _patches(self, pictures: Sequence[npt.NDArray[np.uint8]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Pixels in 0..1 `[pictures, patches, patch * patch * 3]` and patch positions, -1 where padded.

        Pixels cross to the device as uint8 and become float32 there.
        """
        import torch

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

    def _mel(self, sounds: Sequence[npt.NDArray[np.int16]]) -> dict[str, torch.Tensor]:
        # The extractor's own default is to cut at 30 s without a word.
        waves = [sound.astype(np.float32) / _INT16 for sound in sounds]
        features = self._extractor(waves, padding="longest", truncation=False, return_tensors="pt")
        return {
            name: features[name].to(self._model.device) for name in ("input_features", "input_features_mask")
        }


def _cut(picture: npt.NDArray[np.uint8], size: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Patches of a picture, row by row, uint8 `[patches, size * size * 3]`, and their x and y `[patches, 2]`."""
    rows, columns = picture.shape[0] // size, picture.shape[1] // size
    patches = picture.reshape(rows, size, columns, size, 3).swapaxes(1, 2).reshape(rows * columns, -1)
    y, x = np.divmod(np.arange(rows * columns), columns)
    return patches, np.stack([x, y], axis=1)
