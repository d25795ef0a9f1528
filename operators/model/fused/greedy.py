"""What Whisper's decoder makes of sounds: the likeliest path of each, with what else it thought likely on the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from operators.model.fused.whisper_decoder import Decoder
from operators.model.fused.whisper_encoder import WIDTH

CANDIDATES = 8
"""Tokens kept of each step's belief."""
FEATURES = WIDTH + 2 * CANDIDATES
_END, _START, _NO_SPEECH, _NO_TIMES = 50_256, 50_257, 50_361, 50_362
_DOUBT, _LOW_LOGPROB = 0.6, -1.0
"""Whisper's own thresholds: probability that nobody speaks, and that of an unsure transcript."""
_TOKENS_PER_S, _LEAST_TOKENS = 8, 16
"""Nobody speaks faster: more would be made up."""
_LOOP = 4
"""So many tokens said once more are the loop that Whisper falls into when a sound is over."""
_STILL = 0.75
"""Sounds that are over are let go once no more than this share is not: that copies what the others heard."""


def greedy_paths(
    decoder: Decoder, states: Sequence[torch.Tensor], seconds: Sequence[int]
) -> list[torch.Tensor]:
    """Rows of the decoder's likeliest path, for all sounds at once.

    Args:
        decoder: on the device of the states.
        states: of each sound, `[states, WIDTH]`.
        seconds: how long each is.

    Returns:
        For each sound float32 `[words, FEATURES]`: a state, the numbers of the likeliest tokens there and their
        probabilities. None where nobody speaks.
    """
    device, count = states[0].device, len(states)
    most = torch.tensor([_LEAST_TOKENS + _TOKENS_PER_S * own for own in seconds], device=device)
    steps = int(most.max())
    hearing = decoder.listen(states, steps + 1)
    begun = decoder(torch.full((count,), _START, device=device), hearing)
    doubt = decoder.belief(begun)[:, _NO_SPEECH]
    rows = torch.ones(count, steps, FEATURES, device=device)
    kept = torch.zeros(count, steps, dtype=torch.bool, device=device)
    speaking = torch.arange(count, device=device)
    tokens = torch.full((count,), _NO_TIMES, device=device)
    for step in range(steps):
        state = decoder(tokens, hearing)
        belief, likely = decoder.belief(state)[:, : _END + 1].topk(CANDIDATES, dim=1)
        tokens = likely[:, 0]
        rows[speaking, step] = torch.cat([state, likely.float(), belief], 1)
        before = kept[speaking, step - 1] if step else torch.ones_like(speaking, dtype=torch.bool)
        looping = before & _looping(rows[speaking, : step + 1, WIDTH])
        kept[speaking[looping], max(0, step + 1 - _LOOP) : step] = False
        going = before & (tokens != _END) & ~looping & (step < most[speaking])
        kept[speaking, step] = going
        left = int(going.sum())
        if not left:
            break
        if left <= _STILL * len(speaking):
            speaking, tokens = speaking[going], tokens[going]
            hearing.keep(going)
    kept &= ~_unsure(rows[:, :, WIDTH + CANDIDATES], kept, doubt)[:, None]
    return [row[mask] for row, mask in zip(rows, kept, strict=True)]


def _unsure(chances: torch.Tensor, kept: torch.Tensor, doubt: torch.Tensor) -> torch.Tensor:
    """Of which sounds the words are made up: bool `[sounds]` of the words' probabilities `[sounds, steps]`."""
    mean = (chances.log() * kept).sum(1) / kept.sum(1).clamp(min=1)
    return (doubt > _DOUBT) & (mean < _LOW_LOGPROB)


def _looping(said: torch.Tensor) -> torch.Tensor:
    """Which sounds' last tokens were said before in this order: bool `[sounds]` of numbers `[sounds, tokens]`."""
    if said.shape[1] <= _LOOP:
        return torch.zeros(len(said), dtype=torch.bool, device=said.device)
    runs = said.unfold(1, _LOOP, 1)
    return (runs[:, :-1] == runs[:, -1:]).all(2).any(1)
