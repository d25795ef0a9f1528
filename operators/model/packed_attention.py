"""Attention over packed sequences, in both directions, as transformers' modules call it.

A sequence sees itself only. No mask of a whole pack is made: neighbours of one length are one call without a mask,
and of a sliding layer each block of queries sees the keys within its reach. On CUDA, heads that flash attention
takes run as one call over all lengths; it is tried on a small pack first, as drivers, cards and widths differ. For the
others, neighbours of about one length are padded to each other there: a pack of a hundred lengths would else be a
hundred calls in each layer, which take longer to start than to run.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers.modeling_utils import AttentionInterface

from operators.model.packing import Bucket, Packed
from operators.model.upload import Upload

NAME = "embedlake_packed"
_FLASH_WIDTH = 256
_FLASH_TOLERANCE = 0.05
PADDED: dict[str, tuple[int, float]] = {"cuda": (16, 0.125)}
"""Tokens, or a share of the longest one, by which sequences of one call may differ; none where calls cost little."""


class Group:
    """A bucket on its device; `own` says which places of it are a sequence's own, None where all are."""

    def __init__(self, bucket: Bucket, upload: Upload) -> None:
        # Said once: every layer cuts three times, and a bucket may have thousands of sequences to go through.
        self._tokens, self._shape = slice(bucket.start, bucket.end), (bucket.count, bucket.longest)
        self.own: torch.Tensor | None = None
        if not bucket.even:
            own = bucket.own()
            self.own = upload(own)
            self._places, self._kept = upload(bucket.places()), upload(np.flatnonzero(own))

    def cut(self, states: torch.Tensor) -> torch.Tensor:
        """The sequences, padded to each other: `[tokens, ...]` to `[sequences, longest, ...]`."""
        if self.own is None:
            return states[self._tokens].view(*self._shape, *states.shape[1:])
        return states[self._places]

    def put(self, padded: torch.Tensor, out: torch.Tensor) -> None:
        """The reverse of `cut`, into `out`."""
        flat = padded.flatten(0, 1)
        out[self._tokens] = flat if self.own is None else flat[self._kept]


class Pack:
    """A pack on its device, as the attention of every layer is given it."""

    def __init__(self, packed: Packed, upload: Upload) -> None:
        self._packed, self._upload = packed, upload
        self.longest = max(packed.lengths)
        self.offsets = upload(packed.offsets())

    @cached_property
    def groups(self) -> list[Group]:
        """All sequences, in order."""
        buckets = self._packed.buckets(*PADDED.get(self.offsets.device.type, ()))
        return [Group(bucket, self._upload) for bucket in buckets]


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
    return by_groups(q, k, v, pack.groups, scaling, reach)[None], None


def by_groups(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    groups: list[Group],
    scaling: float,
    reach: int | None,
) -> torch.Tensor:
    """Attention with one call for each group of sequences; all `[tokens, heads, width]`.

    Args:
        query: of the pack.
        key: may have fewer heads, as `value`; each serves as many query heads as there are more of them.
        value: like `key`.
        groups: the sequences.
        scaling: factor of the scores.
        reach: how far a token sees to both sides, None for all of its sequence.
    """
    heads = query.shape[1]
    out = torch.empty_like(query, memory_format=torch.contiguous_format)
    for group in groups:
        # [sequences, heads, longest, width], key heads repeated without a copy where there is one.
        q, k, v = (_repeated(group.cut(states).transpose(1, 2), heads) for states in (query, key, value))
        own = None if group.own is None else group.own[:, None, None]
        seen = _whole(q, k, v, own, scaling) if reach is None else _near(q, k, v, own, scaling, reach)
        group.put(seen.transpose(1, 2), out)
    return out


def _repeated(states: torch.Tensor, heads: int) -> torch.Tensor:
    count, own, length, width = states.shape
    if own == heads:
        return states
    return states[:, :, None].expand(count, own, heads // own, length, width).flatten(1, 2)


def _whole(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, own: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    return scaled_dot_product_attention(q, k, v, own, scale=scaling)


def _near(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, own: torch.Tensor | None, scaling: float, reach: int
) -> torch.Tensor:
    length = q.shape[2]
    if length <= reach + 1:
        return _whole(q, k, v, own, scaling)
    blocks = []
    for start in range(0, length, reach):
        end = min(length, start + reach)
        first, last = max(0, start - reach), min(length, end + reach)
        mask = _band(end - start, start - first, last - first, reach, q.device)
        if own is not None:
            # Of a place in the padding that sees none of its sequence comes what nobody reads.
            mask = mask & own[..., first:last]
        near = _whole(q[:, :, start:end], k[:, :, first:last], v[:, :, first:last], mask, scaling)
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
    """Whether flash attention over mixed lengths runs here for these heads and gives what one call a group does."""
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
            pack = Pack(packed, Upload(device))
            want = by_groups(query, key, value, pack.groups, scaling, reach)
            found = _flash(query, key, value, pack, scaling, reach)
            if (want - found).abs().max().item() > _FLASH_TOLERANCE:
                return False
    except (ImportError, RuntimeError, TypeError, NotImplementedError):
        return False
    return True


AttentionInterface.register(NAME, torch.compiler.disable(attend))  # type: ignore[no-untyped-call]
