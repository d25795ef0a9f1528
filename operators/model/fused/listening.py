"""Whisper's encoder, over sounds of any length, and what its decoder shares with it."""

from __future__ import annotations

import torch
from torch import nn

from operators.model.fused.packed import Linear

WIDTH, MELS = 384, 80
LAYERS, HEADS, PLACES = 4, 6, 1_500
"""Of Whisper tiny.en (Radford et al. 2022); an encoder's place is a fiftieth of a second."""


class Thinking(nn.Module):
    """What follows attention in each layer: wide, bent, narrow, and added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.widen = Linear(WIDTH, 4 * WIDTH, bends=True)
        self.narrow = Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., WIDTH]` to the same."""
        thought: torch.Tensor = self.narrow(self.widen(self.norm(x)))
        return x + thought


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.split, self.join = Linear(WIDTH, 3 * WIDTH), Linear(WIDTH, WIDTH)
        self.thinking = Thinking()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sounds, places, _ = x.shape
        query, key, value = self.split(self.norm(x)).view(sounds, places, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.join(seen.transpose(1, 2).reshape(x.shape))
        thought: torch.Tensor = self.thinking(x)
        return thought


class Encoder(nn.Module):
    """Log-mel to states; nothing is masked."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.halving = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.places = nn.Embedding(PLACES, WIDTH)
        self.layers = nn.Sequential(*(_Layer() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """States `[sounds, steps / 2, WIDTH]` of log-mel `[sounds, MELS, steps]`, of 3,000 steps at most."""
        heard = nn.functional.gelu(self.first(mel))
        heard = nn.functional.gelu(self.halving(heard)).transpose(1, 2)
        heard = heard + self.places.weight[: heard.shape[1]]
        states: torch.Tensor = self.norm(self.layers(heard))
        return states
