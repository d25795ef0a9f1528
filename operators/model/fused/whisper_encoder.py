"""Whisper's encoder, over sounds of any length, and what its decoder shares with it."""

from __future__ import annotations

import torch
from torch import nn

from operators.model.onednn import Linear

WIDTH, MELS = 384, 80
LAYERS, HEADS, POSITIONS = 4, 6, 1_500
"""Of Whisper tiny.en (Radford et al. 2022); an encoder's position is a fiftieth of a second."""


class FeedForward(nn.Module):
    """The second half of each layer; what it finds is added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = Linear(WIDTH, 4 * WIDTH, gelu=True)
        self.down = Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[..., WIDTH]` to the same."""
        found: torch.Tensor = self.down(self.up(self.norm(x)))
        return x + found


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv, self.out = Linear(WIDTH, 3 * WIDTH), Linear(WIDTH, WIDTH)
        self.feed_forward = FeedForward()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sounds, positions, _ = x.shape
        query, key, value = (
            self.qkv(self.norm(x)).view(sounds, positions, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        )
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(seen.transpose(1, 2).reshape(x.shape))
        found: torch.Tensor = self.feed_forward(x)
        return found


class Encoder(nn.Module):
    """Log-mel to states; nothing is masked."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(MELS, WIDTH, 3, padding=1)
        self.conv2 = nn.Conv1d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.layers = nn.Sequential(*(_Layer() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """States `[sounds, steps / 2, WIDTH]` of log-mel `[sounds, MELS, steps]`, of 3,000 steps at most."""
        heard = nn.functional.gelu(self.conv1(mel))
        heard = nn.functional.gelu(self.conv2(heard)).transpose(1, 2)
        heard = heard + self.positions.weight[: heard.shape[1]]
        states: torch.Tensor = self.norm(self.layers(heard))
        return states
