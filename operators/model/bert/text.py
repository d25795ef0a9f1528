"""Models of text on the encoder: token ids to vectors, without transformers, which take 200 MB to import."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from operators.model.batching import embed_in_batches, pad
from operators.model.bert.encoder import Encoder
from operators.model.bert.shape import WEIGHTS_FILE, Pooling, TextShape
from operators.model.contract import Inputs
from operators.model.device import products_in, token_budget
from operators.model.unfilled import Unfilled

_PREFIX = "bert."
"""Of checkpoints that were saved with a head."""


@dataclass(frozen=True, slots=True)
class BertText:
    """A loaded model; an engine, whose inputs are parts of token ids."""

    encoder: Encoder
    shape: TextShape
    device: torch.device
    dtype: torch.dtype

    @classmethod
    def load(cls, folder: Path, shape: TextShape, device: torch.device, dtype: torch.dtype) -> BertText:
        """The model in a folder, with products in a type.

        Raises:
            OSError: the weights cannot be read.
            ValueError: they are no safetensors, lack some, or are of another shape.
        """
        path = folder / WEIGHTS_FILE
        with Unfilled():
            encoder = Encoder(shape.encoder)
        encoder.load_state_dict(_state(path, encoder), assign=True)
        encoder = encoder.to(device).requires_grad_(False).eval()
        encoder.multiply_in(dtype)
        if device.type == "cpu":
            # Mapped anew: what was packed out of the first mapping would stay in memory beside it.
            encoder.load_state_dict(_state(path, encoder), assign=True)
        return cls(encoder, shape, device, dtype)

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Vectors of prepared inputs: float32 `[inputs, dim]`."""
        return self.read([parts[0].array for parts in inputs])

    def read(self, rows: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        """Vectors of token rows, special tokens included: float32 `[rows, dim]`."""
        return embed_in_batches(self._forward, rows, [len(row) for row in rows], token_budget(self.device))

    @torch.inference_mode()
    def _forward(self, rows: list[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        ids, mask = (torch.from_numpy(array).to(self.device) for array in pad(rows, 0))
        whole = len({len(row) for row in rows}) == 1
        words = self.encoder.embeddings.word_embeddings(ids)
        with products_in(self.dtype, self.device):
            states = self.encoder(words, None if whole else mask.bool()[:, None, None])
        vectors = self._pooled(states.float(), mask[..., None])
        if self.shape.unit:
            vectors = torch.nn.functional.normalize(vectors, dim=1)
        return np.asarray(vectors.cpu().numpy(), np.float32)

    def _pooled(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.shape.pooling is Pooling.CLS:
            return states[:, 0]
        return (states * mask).sum(1) / mask.sum(1)


def _state(path: Path, encoder: Encoder) -> dict[str, torch.Tensor]:
    """The encoder's own of a checkpoint, in float32; a head or pooler beside it is left out."""
    try:
        read = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"'{path}' is no safetensors file: {error}") from error
    found = {_name(name): tensor for name, tensor in read.items()}
    for name, own in encoder.state_dict().items():
        if name not in found:
            raise ValueError(f"'{path}' has no '{name}'")
        if found[name].shape != own.shape:
            sizes = tuple(found[name].shape), tuple(own.shape)
            raise ValueError(f"'{name}' in '{path}' has the shape {sizes[0]}, its config says {sizes[1]}")
    return {name: found[name].float() for name in encoder.state_dict()}


def _name(saved: str) -> str:
    """A weight's name today: TensorFlow's norms had a gamma and a beta."""
    name = saved.removeprefix(_PREFIX)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
