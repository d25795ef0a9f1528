"""The trained pieces: image features into the text space, and the rotation that makes prefixes useful."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

DIM = 384


class ImageHead(nn.Module):
    """Features `[images, features]` to vectors `[images, 384]`: a mean over `members` residual networks."""

    mean: torch.Tensor
    basis: torch.Tensor

    def __init__(self, features: int, reduced: int, hidden: int, members: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("basis", torch.zeros(reduced, features))
        self.members = nn.ModuleList([HeadMember(reduced, hidden) for _ in range(members)])

    def reduce(self, features: torch.Tensor) -> torch.Tensor:
        """Whitened principal components: `[images, reduced]`."""
        return (features - self.mean) @ self.basis.T

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Unit vectors: float32 `[images, 384]`."""
        x = self.reduce(features)
        units = [nn.functional.normalize(member(x), dim=1) for member in self.members]
        return nn.functional.normalize(torch.stack(units).mean(0), dim=1)


class HeadMember(nn.Module):
    """A linear map and a network of one hidden layer beside it."""

    def __init__(self, reduced: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.linear = nn.Linear(reduced, DIM)
        self.network = nn.Sequential(
            nn.Linear(reduced, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, DIM)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[images, reduced]` to `[images, 384]`, of any length."""
        y: torch.Tensor = self.linear(x) + self.network(x)
        return y


def load_heads(path: Path) -> tuple[ImageHead, torch.Tensor]:
    """The image head and the rotation, float32 `[384, 384]`, rows are the new axes."""
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    rotation = state.pop("rotation")
    reduced, features = state["basis"].shape
    hidden = state["members.0.network.0.weight"].shape[0]
    members = len({name.split(".")[1] for name in state if name.startswith("members.")})
    head = ImageHead(features, reduced, hidden, members)
    head.load_state_dict(state)
    return head.eval().requires_grad_(False), rotation
