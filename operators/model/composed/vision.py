"""The image tower: a frozen DINOv2-small, read from an ONNX file, and what the trained head sees of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import Dinov2Config, Dinov2Model

from operators.model.device import hold_products_in, products_in

SIDE = 112
"""Pixels of a side: 8 x 8 patches of 14."""
LAYERS = (8, 9, 10, 11)
"""Layers whose tokens are features; the file's layer 12 was altered by its makers and is not run."""
FEATURES = 384 * len(LAYERS)
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)
_MATMUL = re.compile(r"/backbone/(encoder/layer\.\d+/.*)/MatMul$")


def read_onnx(path: Path) -> dict[str, torch.Tensor]:
    """The backbone's weights under the names of transformers' `Dinov2Model` checkpoints.

    The exporter renamed and transposed the matrices of linear layers; the graph's node names tell which is which.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    state: dict[str, Any] = {
        name.removeprefix("backbone."): value
        for name, value in tensors.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        match = _MATMUL.match(node.name)
        if match and node.input[1] in tensors:
            state[match[1].replace("/", ".") + ".weight"] = tensors[node.input[1]].T
    positions = {t.shape: t for n, t in tensors.items() if not n.startswith("backbone.") and t.ndim == 3}
    state["embeddings.position_embeddings"] = np.concatenate(
        [positions[1, 1, 384], positions[1, 1369, 384]], 1
    )
    state["embeddings.mask_token"] = np.zeros((1, 384), np.float32)
    return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}


class VisionTower(nn.Module):
    """Pixels to features `[images, FEATURES]`: the class token after each layer in `LAYERS`."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        depth = max(LAYERS)
        config = Dinov2Config(
            hidden_size=384, num_hidden_layers=depth, num_attention_heads=6, image_size=518, patch_size=14
        )
        state = read_onnx(weights)
        dropped = [
            name for name in state if (m := re.match(r"encoder\.layer\.(\d+)\.", name)) and int(m[1]) >= depth
        ]
        for name in dropped:
            del state[name]
        model: nn.Module = Dinov2Model.from_pretrained(None, config=config, state_dict=state)
        self.model: Any = model.eval().requires_grad_(False)
        self.dtype = torch.float32
        self._fix_positions()
        self.register_buffer("mean", torch.tensor(_MEAN).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(_STD).view(1, 3, 1, 1) * 255, persistent=False)

    def _fix_positions(self) -> None:
        """Interpolate the position grid to `SIDE` once instead of in every batch."""
        embeddings = self.model.embeddings
        grid = embeddings.interpolate_pos_encoding(torch.empty(1, 1 + (SIDE // 14) ** 2, 384), SIDE, SIDE)
        embeddings.position_embeddings = nn.Parameter(grid, requires_grad=False)
        embeddings.patch_embeddings.num_patches = (SIDE // 14) ** 2

    def multiply_in(self, dtype: torch.dtype) -> None:
        """Make the products of its layers in a type."""
        self.dtype = dtype
        hold_products_in(dtype, self.model.encoder)

    @torch.inference_mode()
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of uint8 pixels `[images, SIDE, SIDE, 3]` on any device: float32 `[images, FEATURES]`."""
        x = pixels.to(self.mean.device).permute(0, 3, 1, 2).to(torch.float32)
        with products_in(self.dtype, x.device):
            hidden = self.model((x - self.mean) / self.std, output_hidden_states=True).hidden_states
        return torch.cat([self.model.layernorm(hidden[i][:, 0]) for i in LAYERS], 1)
