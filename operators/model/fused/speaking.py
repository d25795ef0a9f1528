"""Whisper's decoder, a token of every sound at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from operators.model.fused.listening import HEADS, LAYERS, WIDTH, Thinking
from operators.model.fused.packed import Linear, PackedLinear, pack_layers
from operators.model.unfilled import Unfilled

TOKENS, PLACES = 51_864, 448
_HEAD = WIDTH // HEADS


class _Memory(NamedTuple):
    """What a layer's attention looks at: keys and values `[sounds * HEADS, places, width of a head]`, contiguous."""

    keys: torch.Tensor
    values: torch.Tensor


@dataclass(slots=True)
class Hearing:
    """Of sounds that are heard together: what was said so far, and each layer's view of their states.

    `beyond` float32 `[sounds * HEADS, 1, states]` is -inf where a sound is over, None where all are equally long.
    """

    heard: list[_Memory]
    said: list[_Memory]
    beyond: torch.Tensor | None
    step: int = 0

    def keep(self, sounds: torch.Tensor) -> None:
        """Go on with some of the sounds: bool `[sounds]`."""
        rows = sounds.repeat_interleave(HEADS)
        for memories in (self.heard, self.said):
            for layer, memory in enumerate(memories):
                memories[layer] = _Memory(memory.keys[rows], memory.values[rows])
        self.beyond = None if self.beyond is None else self.beyond[rows]


class _Looking(nn.Module):
    """Attention of one token a sound; the query is made here, keys and values are remembered."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.split, self.join = Linear(WIDTH, parts * WIDTH), Linear(WIDTH, WIDTH)

    def look(
        self, x: torch.Tensor, query: torch.Tensor, seen: _Memory, beyond: torch.Tensor | None
    ) -> torch.Tensor:
        """`x` and what is seen; `x` and `query` `[sounds, WIDTH]`."""
        rows = query.reshape(-1, 1, _HEAD)
        scores = torch.baddbmm(
            rows.new_zeros(1) if beyond is None else beyond,
            rows,
            seen.keys.transpose(1, 2),
            beta=0 if beyond is None else 1,
            alpha=_HEAD**-0.5,
        )
        found = torch.bmm(scores.softmax(2), seen.values).view(x.shape)
        joined: torch.Tensor = self.join(found)
        return x + joined


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.back, self.around = _Looking(3), _Looking(1)
        self.remember = Linear(WIDTH, 2 * WIDTH)
        self.thinking = Thinking()

    def memory(self, states: torch.Tensor, lengths: Sequence[int]) -> _Memory:
        """Of the encoder's states of all sounds `[states, WIDTH]`, one sound behind the other."""
        both = self.remember(states).view(-1, 2, HEADS, _HEAD)
        held = both.new_zeros(2, len(lengths), HEADS, max(lengths), _HEAD)
        for sound, own in enumerate(both.split(list(lengths))):
            held[:, sound, :, : len(own)] = own.permute(1, 2, 0, 3)
        return _Memory(*held.flatten(1, 2))

    def forward(self, x: torch.Tensor, hearing: Hearing, layer: int) -> torch.Tensor:
        said, step = hearing.said[layer], hearing.step
        query, key, value = self.back.split(self.back.norm(x)).chunk(3, 1)
        said.keys[:, step] = key.reshape(-1, _HEAD)
        said.values[:, step] = value.reshape(-1, _HEAD)
        so_far = _Memory(said.keys[:, : step + 1], said.values[:, : step + 1])
        x = self.back.look(x, query, so_far, None)
        x = self.around.look(x, self.around.split(self.around.norm(x)), hearing.heard[layer], hearing.beyond)
        thought: torch.Tensor = self.thinking(x)
        return thought


class Decoder(nn.Module):
    """From the states of sounds and a token of each to what it makes of them, step by step."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(TOKENS, WIDTH)
        self.places = nn.Embedding(PLACES, WIDTH)
        self.layers: Any = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.scores: PackedLinear | None = None

    def pack(self) -> None:
        """Pack it for the CPU that it is on and stays on."""
        pack_layers(self, torch.float32)
        with Unfilled():
            likeness = Linear(WIDTH, TOKENS, bias=False)
        likeness.weight = self.words.weight
        self.scores = PackedLinear(likeness, torch.float32)
        # Their file has float16: what is looked up stays as it is.
        self.words.weight.data = self.words.weight.data.half()

    def listen(self, states: Sequence[torch.Tensor], steps: int) -> Hearing:
        """Begin on the states of each sound `[states, WIDTH]`; so many steps may follow."""
        lengths = [len(own) for own in states]
        every = torch.cat(list(states))
        beyond: torch.Tensor | None = None
        if min(lengths) < max(lengths):
            ends = torch.tensor(lengths, device=every.device).repeat_interleave(HEADS)
            over = torch.arange(max(lengths), device=every.device) >= ends[:, None]
            beyond = torch.zeros_like(over, dtype=every.dtype).masked_fill_(over, -torch.inf)[:, None]
        nothing = every.new_empty(2, len(states) * HEADS, steps, _HEAD)
        return Hearing(
            heard=[layer.memory(every, lengths) for layer in self.layers],
            said=[_Memory(*nothing.clone()) for _ in self.layers],
            beyond=beyond,
        )

    def forward(self, tokens: torch.Tensor, hearing: Hearing) -> torch.Tensor:
        """States `[sounds, WIDTH]` after one more token of each sound: int64 `[sounds]`."""
        x = self.words(tokens).float() + self.places.weight[hearing.step]
        for number, layer in enumerate(self.layers):
            x = layer(x, hearing, number)
        hearing.step += 1
        normed: torch.Tensor = self.norm(x)
        return normed

    def belief(self, states: torch.Tensor) -> torch.Tensor:
        """Probabilities of each token that may be next: `[sounds, TOKENS]`."""
        logits: torch.Tensor = self.scores(states) if self.scores else states @ self.words.weight.T
        return logits.softmax(1)
