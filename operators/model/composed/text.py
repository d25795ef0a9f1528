"""The text tower: all-MiniLM-L6-v2, whose space is the common one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import BertModel

from operators.model.batching import embed_in_batches, pad
from operators.model.device import hold_products_in, products_in, token_budget

PAD_ID = 0


class TextTower:
    """Token ids to unit vectors, by the mean over attended tokens."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        model: nn.Module = BertModel.from_pretrained(folder, add_pooling_layer=False, local_files_only=True)
        self._model = model.to(device).eval()
        self._device = device
        self._budget = token_budget(device)
        self._dtype = torch.float32

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Make the products of its layers in a type."""
        self._dtype = dtype
        hold_products_in(dtype, self._model)

    def embed(self, rows: Sequence[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        """Unit vectors of token rows, special tokens included: float32 `[rows, 384]`."""
        return embed_in_batches(self._forward, rows, [len(row) for row in rows], self._budget)

    @torch.inference_mode()
    def _forward(self, rows: list[npt.NDArray[np.int32]]) -> npt.NDArray[np.float32]:
        ids, mask = (torch.from_numpy(array).to(self._device) for array in pad(rows, PAD_ID))
        with products_in(self._dtype, self._device):
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state
        kept = mask.unsqueeze(-1)
        mean = (hidden * kept).sum(1) / kept.sum(1)
        return np.asarray(torch.nn.functional.normalize(mean, dim=1).cpu().numpy(), np.float32)
