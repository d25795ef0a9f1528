"""The plain way into the trunk: encoder features through a linear map and a small network."""

from __future__ import annotations

import torch
from torch import nn


class SoftTokens(nn.Module):
    """Encoder features into the trunk's space: a linear map and a network beside it that starts at nothing."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, hidden)
        self.network = nn.Sequential(nn.Linear(width, 2 * hidden), nn.GELU(), nn.Linear(2 * hidden, hidden))
        last = self.network[2]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[..., width]` to `[..., hidden]`."""
        x = self.norm(features)
        soft: torch.Tensor = self.linear(x) + self.network(x)
        return soft
