"""Sound into the trunk: what the audio tower heard becomes soft tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from operators.model.fused.config import FusedConfig
from operators.model.fused.soft import SoftTokens


class AudioTokens(nn.Module):
    """The adapter of the audio tower."""

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.stack = config.audio_stack
        self.soft = SoftTokens(config.audio_dim * config.audio_stack, config.hidden)

    def forward(self, features: Sequence[torch.Tensor], words: torch.Tensor) -> list[torch.Tensor]:
        """Soft tokens of sounds.

        Args:
            features: of each sound `[steps, audio_dim]`, without padding.
            words: the trunk's word embeddings `[vocabulary, hidden]`.

        Returns:
            For each sound `[tokens, hidden]`, longer for a longer sound.
        """
        if not features:
            return []
        stacked = [stack_steps(f, self.stack) for f in features]
        return list(self.soft(torch.cat(stacked)).split([len(s) for s in stacked]))


def stack_steps(features: torch.Tensor, stack: int) -> torch.Tensor:
    """Neighbouring encoder steps side by side, the end filled with zeros: `[ceil(steps / stack), stack * width]`."""
    missing = -len(features) % stack
    filled = nn.functional.pad(features, (0, 0, 0, missing))
    return filled.reshape(-1, stack * features.shape[1])
