"""The trained pieces: image features into the text space, and the rotation that makes prefixes useful."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

DIM = 384
WIDTH = 0.1
"""Of the kernel `exp((cosine - 1) / WIDTH)`."""
_INT8 = 127.0


class ImageHead(nn.Module):
    """Kernel ridge regression from image features to the text space, on the pictures it was fitted to.

    `mean` `[features]` and `basis` `[reduced, features]` whiten; `anchors` are the fitted pictures' unit vectors
    `[pictures, reduced]`, `duals` `[pictures, 384]` what each adds to the prediction.
    """

    mean: torch.Tensor
    basis: torch.Tensor
    anchors: torch.Tensor
    duals: torch.Tensor

    def __init__(
        self, mean: torch.Tensor, basis: torch.Tensor, anchors: torch.Tensor, duals: torch.Tensor
    ) -> None:
        super().__init__()
        for name, tensor in {"mean": mean, "basis": basis, "anchors": anchors, "duals": duals}.items():
            self.register_buffer(name, tensor)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Unit vectors of features `[images, features]`: float32 `[images, 384]`."""
        kernel = torch.exp((reduce(features, self.mean, self.basis) @ self.anchors.T - 1) / WIDTH)
        return nn.functional.normalize(kernel @ self.duals, dim=1)


def reduce(features: torch.Tensor, mean: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Whitened features at length one: `[images, reduced]`."""
    return nn.functional.normalize((features - mean) @ basis.T, dim=1)


def save_heads(path: Path, head: ImageHead, rotation: torch.Tensor) -> None:
    """Write both in their small form: pictures in int8, the rest in float16."""
    anchors, anchor_scale = _to_int8(head.anchors)
    duals, dual_scale = _to_int8(head.duals)
    small = {"mean": head.mean, "basis": head.basis, "rotation": rotation}
    scales = {"anchor_scale": anchor_scale, "dual_scale": dual_scale}
    halves = {name: tensor.half().contiguous() for name, tensor in {**small, **scales}.items()}
    save_file({**halves, "anchors": anchors.contiguous(), "duals": duals.contiguous()}, path)


def load_heads(path: Path) -> tuple[ImageHead, torch.Tensor]:
    """The image head and the rotation, float32 `[384, 384]`, its rows the new axes."""
    state = load_file(path)
    wide = {name: tensor.float() for name, tensor in state.items()}
    anchors = nn.functional.normalize(wide["anchors"] * wide["anchor_scale"], dim=1)
    head = ImageHead(wide["mean"], wide["basis"], anchors, wide["duals"] * wide["dual_scale"])
    return head.eval(), _orthogonal(wide["rotation"])


def _to_int8(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """int8 rows and the scale `[rows, 1]` of each."""
    scale = (rows.abs().amax(1, keepdim=True) / _INT8).half().float()
    return (rows / scale).round().clamp(-_INT8, _INT8).to(torch.int8), scale


def _orthogonal(rotation: torch.Tensor) -> torch.Tensor:
    """The nearest axes that are exactly orthogonal: float16 is not, and cosines have to stay."""
    left, _, right = torch.linalg.svd(rotation.double())
    nearest: torch.Tensor = (left @ right).float()
    return nearest
