"""Whisper's decoder over sounds of different lengths at once, and its weights packed."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "embedlake_heard"
_ROWS = 8
"""Sounds that the packed matrix is laid out for; any number may come."""


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    heard: torch.Tensor | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' own attention, but that of each sound the decoder sees as many states as it has.

    Args:
        module: the layer; one that is not causal looks at the sound.
        query: `[sounds, heads, tokens, width]`.
        key: `[sounds, heads, states, width]`.
        value: like `key`.
        attention_mask: of what was said before.
        heard: which states are a sound's own, bool `[sounds, 1, 1, states]`; all when None.
        rest: as transformers passes it.

    Returns:
        `[sounds, tokens, heads, width]`, and no weights.
    """
    mask = attention_mask if getattr(module, "is_causal", False) else heard
    found: tuple[torch.Tensor, None] = sdpa_attention_forward(module, query, key, value, mask, **rest)
    return found


class Packed(nn.Module):
    """A linear layer packed for a CPU, for good: no longer a parameter that moves or is saved.

    A step of the decoder reads all weights for a row a sound, and oneDNN's packed product of two to eight rows takes a
    third of the time of the plain one.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 `[..., inputs]` to `[..., outputs]`."""
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")
        return found


def pack_layers(model: nn.Module) -> None:
    """Pack every linear layer of a model that is not trained any more."""
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(
                    parent, name, Packed(layer.weight.data, None if layer.bias is None else layer.bias.data)
                )


AttentionInterface.register(NAME, attend)  # type: ignore[no-untyped-call]
AttentionMaskInterface.register(NAME, sdpa_mask)  # type: ignore[no-untyped-call]
