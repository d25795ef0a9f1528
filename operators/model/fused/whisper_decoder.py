"""Whisper's decoder, a token of every sound at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from operators.model.fused.whisper_encoder import HEADS, LAYERS, WIDTH, FeedForward
from operators.model.onednn import Linear, PackedLinear, pack_layers
from operators.model.unfilled import Unfilled

TOKENS, POSITIONS = 51_864, 448
_HEAD = WIDTH // HEADS


class _KeyValues(NamedTuple):
    """What a layer's attention looks at: keys and values `[sounds * HEADS, positions, width of a head]`, contiguous."""

    keys: torch.Tensor
    values: torch.Tensor


@dataclass(slots=True)
class DecoderState:
    """The decoder's cache, of sounds that are heard together: what was said so far, and the sounds, layer by layer.

    `mask` float32 `[sounds * HEADS, 1, states]` is -inf where a sound is over, None where all are equally long.
    """

    cross: list[_KeyValues]
    past: list[_KeyValues]
    mask: torch.Tensor | None
    step: int = 0

    def keep(self, sounds: torch.Tensor) -> None:
        """Go on with some of the sounds: bool `[sounds]`."""
        rows = sounds.repeat_interleave(HEADS)
        for layers in (self.cross, self.past):
            for layer, held in enumerate(layers):
                layers[layer] = _KeyValues(held.keys[rows], held.values[rows])
        self.mask = None if self.mask is None else self.mask[rows]


class _Attention(nn.Module):
    """Attention of one token a sound; the query is made here, keys and values are remembered."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.project, self.out = Linear(WIDTH, parts * WIDTH), Linear(WIDTH, WIDTH)

    def attend(
        self, x: torch.Tensor, query: torch.Tensor, seen: _KeyValues, mask: torch.Tensor | None
    ) -> torch.Tensor:
        """`x` and what is seen; `x` and `query` `[sounds, WIDTH]`."""
        rows = query.reshape(-1, 1, _HEAD)
        scores = torch.baddbmm(
            rows.new_zeros(1) if mask is None else mask,
            rows,
            seen.keys.transpose(1, 2),
            beta=0 if mask is None else 1,
            alpha=_HEAD**-0.5,
        )
        found = torch.bmm(scores.softmax(2), seen.values).view(x.shape)
        joined: torch.Tensor = self.out(found)
        return x + joined


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.self_attention, self.cross_attention = _Attention(3), _Attention(1)
        self.key_values = Linear(WIDTH, 2 * WIDTH)
        self.feed_forward = FeedForward()

    def encoded(self, states: torch.Tensor, lengths: Sequence[int]) -> _KeyValues:
        """Keys and values of the encoder's states of all sounds `[states, WIDTH]`, one sound behind the other."""
        both = self.key_values(states).view(-1, 2, HEADS, _HEAD)
        held = both.new_zeros(2, len(lengths), HEADS, max(lengths), _HEAD)
        for sound, own in enumerate(both.split(list(lengths))):
            held[:, sound, :, : len(own)] = own.permute(1, 2, 0, 3)
        return _KeyValues(*held.flatten(1, 2))

    def forward(self, x: torch.Tensor, state: DecoderState, layer: int) -> torch.Tensor:
        past, step = state.past[layer], state.step
        query, key, value = self.self_attention.project(self.self_attention.norm(x)).chunk(3, 1)
        past.keys[:, step] = key.reshape(-1, _HEAD)
        past.values[:, step] = value.reshape(-1, _HEAD)
        so_far = _KeyValues(past.keys[:, : step + 1], past.values[:, : step + 1])
        x = self.self_attention.attend(x, query, so_far, None)
        x = self.cross_attention.attend(
            x, self.cross_attention.project(self.cross_attention.norm(x)), state.cross[layer], state.mask
        )
        found: torch.Tensor = self.feed_forward(x)
        return found


class Decoder(nn.Module):
    """From the states of sounds and a token of each to what it makes of them, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(TOKENS, WIDTH)
        self.positions = nn.Embedding(POSITIONS, WIDTH)
        self.layers: Any = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.scores: PackedLinear | None = None

    def pack(self) -> None:
        """Pack it for the CPU that it is on and stays on."""
        pack_layers(self, torch.float32)
        with Unfilled():
            scores = Linear(WIDTH, TOKENS, bias=False)
        scores.weight = self.words.weight
        self.scores = PackedLinear(scores, torch.float32)
        # Their file has float16: what is looked up stays as it is.
        self.words.weight.data = self.words.weight.data.half()

    def listen(self, states: Sequence[torch.Tensor], steps: int) -> DecoderState:
        """Begin on the states of each sound `[states, WIDTH]`; so many steps may follow."""
        lengths = [len(own) for own in states]
        every = torch.cat(list(states))
        mask: torch.Tensor | None = None
        if min(lengths) < max(lengths):
            ends = torch.tensor(lengths, device=every.device).repeat_interleave(HEADS)
            over = torch.arange(max(lengths), device=every.device) >= ends[:, None]
            mask = torch.zeros_like(over, dtype=every.dtype).masked_fill_(over, -torch.inf)[:, None]
        past = (2, len(states) * HEADS, steps, _HEAD)
        return DecoderState(
            cross=[layer.encoded(every, lengths) for layer in self.layers],
            past=[_KeyValues(*every.new_empty(past)) for _ in self.layers],
            mask=mask,
        )

    def forward(self, tokens: torch.Tensor, state: DecoderState) -> torch.Tensor:
        """States `[sounds, WIDTH]` after one more token of each sound: int64 `[sounds]`."""
        x = self.words(tokens).float() + self.positions.weight[state.step]
        for number, layer in enumerate(self.layers):
            x = layer(x, state, number)
        state.step += 1
        normed: torch.Tensor = self.norm(x)
        return normed

    def belief(self, states: torch.Tensor) -> torch.Tensor:
        """Probabilities of each token that may be next: `[sounds, TOKENS]`."""
        logits: torch.Tensor = self.scores(states) if self.scores else states @ self.words.weight.T
        return logits.softmax(1)
