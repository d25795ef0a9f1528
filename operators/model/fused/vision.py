"""Pictures into the trunk: what the vision tower saw becomes a few soft tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from operators.model.fused.config import FusedConfig
from operators.model.fused.soft import SoftTokens


class VisionTokens(nn.Module):
    """The adapter of the vision tower."""

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.soft = SoftTokens(config.vision_dim, config.hidden)

    def forward(self, features: Sequence[torch.Tensor], grid: int, words: torch.Tensor) -> list[torch.Tensor]:
        """Soft tokens of pictures.

        Args:
            features: of each picture `[1 + side^2, vision_dim]`, the class token first; sides may differ.
            grid: side of the grid that patches are pooled to.
            words: the trunk's word embeddings `[vocabulary, hidden]`.

        Returns:
            For each picture `[tokens, hidden]`.
        """
        if not features:
            return []
        return list(self.soft(torch.stack([pool_patches(f, grid) for f in features])))


def pool_patches(features: torch.Tensor, grid: int) -> torch.Tensor:
    """The class token and the patches averaged to a `grid` x `grid`: `[1 + grid^2, width]`."""
    side = round((len(features) - 1) ** 0.5)
    patches = features[1:].T.reshape(1, -1, side, side)
    pooled = nn.functional.adaptive_avg_pool2d(patches, grid)
    return torch.cat([features[:1], pooled[0].flatten(1).T])
