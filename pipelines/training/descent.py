"""The plain descent that teaches a small part of the network: AdamW, a short warm-up, and a linear end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn

_FALL = 0.7
"""The share of the steps, at the end, over which the rate falls to nothing."""


def teach(
    network: nn.Module,
    learning: Sequence[torch.Tensor],
    loss_of: Callable[[], torch.Tensor],
    *,
    steps: int,
    rate: float,
    warmup: int,
    each: Callable[[int, float], None],
) -> list[float]:
    """Train some parameters of a network, all others frozen meanwhile.

    Args:
        network: all of it learns again afterwards.
        learning: what changes.
        loss_of: the next step's loss.
        steps: so many.
        rate: the highest.
        warmup: steps until it is reached.
        each: called after every step with its number and loss.

    Returns:
        The loss of each step.
    """
    network.requires_grad_(False)
    for parameter in learning:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learning, lr=rate, weight_decay=0.0)
    losses: list[float] = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / warmup, (steps - step) / (_FALL * steps))
        loss = loss_of()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        each(step, losses[-1])
    network.requires_grad_(True)
    return losses
