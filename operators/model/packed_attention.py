"""Attention over packed sequences, in both directions, as transformers' modules call it.

A sequence sees itself only. No mask of a whole pack is made: neighbours of one length are one call without a mask,
and of a sliding layer each block of queries sees the keys within its reach. On CUDA, heads that flash attention
takes run as one call over all lengths; it is tried on a small pack first, as drivers, cards and widths differ.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import AttentionInterface

from operators.model.packing import Packed, Run

NAME = "embedlake_packed"
_FLASH_WIDTH = 256
_FLASH_TOLERANCE = 0.05


class Pack:
    """A pack on its device, as the attention of every layer is given it."""

    def __init__(self, packed: Packed, device: torch.device) -> None:
        self.runs = packed.runs
        self.longest = max(packed.lengths)
        self.offsets = torch.from_numpy(packed.offsets()).to(device, non_blocking=True)


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    pack: Pack,
    scaling: float,
    sliding_window: int | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """One layer's attention.

    Args:
        module: the layer.
        query: `[1, heads, tokens, width]`.
        key: `[1, key heads, tokens, width]`, as `value`.
        value: like `key`.
        attention_mask: none; `pack` says who sees whom.
        pack: where the sequences lie.
        scaling: factor of the scores.
        sliding_window: tokens that see each other are less than this apart; all of a sequence do when None.

    Returns:
        `[1, tokens, heads, width]`, and no weights.
    """
    reach = None if sliding_window is None else sliding_window - 1
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    if q.is_cuda and _flash_works(q.device, q.dtype, q.shape[1], q.shape[2], k.shape[1]):
        return _flash(q, k, v, pack, scaling, reach)[None], None
    return by_runs(q, k, v, pack.runs, scaling, reach)[None], None


def by_runs(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    runs: list[Run],
    scaling: float,
    reach: int | None,
) -> torch.Tensor:
    """Attention with one call for each run of sequences of one length; all `[tokens, heads, width]`.

    Args:
        query: of the pack.
        key: may have fewer heads, as `value`; each serves as many query heads as there are more of them.
        value: like `key`.
        runs: the sequences.
        scaling: factor of the scores.
        reach: how far a token sees to both sides, None for all of its sequence.
    """
    heads = query.shape[1]
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    for run in runs:
        # [count, heads, length, width]: a sequence's own tokens, key heads repeated without a copy where there is one.
        q, k, v = (
            _repeated(
                states[run.start : run.end].view(run.count, run.length, *states.shape[1:]).transpose(1, 2),
                heads,
            )
            for states in (query, key, value)
        )
        seen = _whole(q, k, v, scaling) if reach is None else _near(q, k, v, scaling, reach)
        out[run.start : run.end] = seen.transpose(1, 2).flatten(0, 1)
    return out


def _repeated(states: torch.Tensor, heads: int) -> torch.Tensor:
    count, own, length, width = states.shape
    if own == heads:
        return states
    return states[:, :, None].expand(count, own, heads // own, length, width).flatten(1, 2)


def _whole(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scaling: float) -> torch.Tensor:
    return scaled_dot_product_attention(q, k, v, scale=scaling)


def _near(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scaling: float, reach: int) -> torch.Tensor:
    length = q.shape[2]
    if length <= reach + 1:
        return _whole(q, k, v, scaling)
    blocks = []
    for start in range(0, length, reach):
        end = min(length, start + reach)
        first, last = max(0, start - reach), min(length, end + reach)
        mask = _band(end - start, start - first, last - first, reach, q.device)
        near = scaled_dot_product_attention(
            q[:, :, start:end], k[:, :, first:last], v[:, :, first:last], mask, scale=scaling
        )
        blocks.append(near)
    return torch.cat(blocks, 2)


@lru_cache(maxsize=256)
def _band(queries: int, before: int, keys: int, reach: int, device: torch.device) -> torch.Tensor:
    """Which keys a block's queries see, bool `[queries, keys]`; `before` keys lie before the first query."""
    places = torch.arange(queries, device=device)[:, None] + before
    return (places - torch.arange(keys, device=device)).abs() <= reach


def _flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    pack: Pack,
    scaling: float,
    reach: int | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    window = (-1, -1) if reach is None else (reach, reach)
    ends, longest = pack.offsets, pack.longest
    grouped = query.shape[1] != key.shape[1]
    states = (query.contiguous(), key.contiguous(), value.contiguous())
    out: Any = varlen_attn(
        *states, ends, ends, longest, longest, scale=scaling, window_size=window, enable_gqa=grouped
    )
    found: torch.Tensor = out
    return found


@lru_cache
def _flash_works(device: torch.device, dtype: torch.dtype, heads: int, width: int, key_heads: int) -> bool:
    """Whether flash attention over mixed lengths runs here for these heads and gives what one call a run does."""
    if width > _FLASH_WIDTH or dtype not in (torch.bfloat16, torch.float16):
        return False
    packed = Packed((40, 7, 7, 1))
    draws = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(packed.tokens, count, width, generator=draws).to(device, dtype)
        for count in (heads, key_heads, key_heads)
    )
    scaling = width**-0.5
    try:
        for reach in (None, 5):
            want = by_runs(query, key, value, packed.runs, scaling, reach)
            found = _flash(query, key, value, Pack(packed, device), scaling, reach)
            if (want - found).abs().max().item() > _FLASH_TOLERANCE:
                return False
    except (ImportError, RuntimeError, TypeError, NotImplementedError):
        return False
    return True


AttentionInterface.register(NAME, torch.compiler.disable(attend))  # type: ignore[no-untyped-call]
