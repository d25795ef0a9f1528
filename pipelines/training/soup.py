"""Model soup: checkpoints averaged with weights that are chosen on validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

State = Mapping[str, torch.Tensor]


def blend(states: Sequence[State], weights: Sequence[float]) -> dict[str, torch.Tensor]:
    """The weighted mean of checkpoints of one shape; weights are scaled to sum to one.

    Raises:
        ValueError: checkpoints of different tensors, or no positive weight.
    """
    total = sum(weights)
    if total <= 0 or len(states) != len(weights):
        raise ValueError(
            f"{len(states)} checkpoints need as many weights with a positive sum, got {list(weights)}"
        )
    if any(state.keys() != states[0].keys() for state in states):
        raise ValueError("checkpoints hold different tensors")
    out: dict[str, torch.Tensor] = {}
    for name, first in states[0].items():
        if not first.is_floating_point():
            out[name] = first.clone()
            continue
        mixed = sum(state[name].double() * (w / total) for state, w in zip(states, weights, strict=True))
        out[name] = torch.as_tensor(mixed).to(first.dtype)
    return out


def greedy_soup(states: Sequence[State], score: Callable[[State], float], most: int = 8) -> list[float]:
    """Weights by greedy selection with replacement; never worse than the best ingredient on `score`.

    Args:
        states: checkpoints of one shape.
        score: validation score of a checkpoint, more is better.
        most: ingredients of a soup at most, repetitions counted.

    Returns:
        A weight for each checkpoint: how often it was taken.
    """
    single = [score(state) for state in states]
    best = max(range(len(states)), key=lambda i: single[i])
    weights = [1.0 if i == best else 0.0 for i in range(len(states))]
    reached = single[best]
    for _ in range(most - 1):
        tries = [[w + (i == j) for j, w in enumerate(weights)] for i in range(len(states))]
        scores = [score(blend(states, tried)) for tried in tries]
        pick = max(range(len(tries)), key=lambda i: scores[i])
        if scores[pick] <= reached:
            break
        weights, reached = tries[pick], scores[pick]
    return weights
