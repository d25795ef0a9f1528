"""The projection: a rotation whose leading axes hold what retrieval needs, so that short vectors keep it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy, normalize

from schemas.card import Frozen

Sides = tuple[torch.Tensor, torch.Tensor]
"""Vectors of queries and of what answers them, `[pairs, hidden]` each."""


class ProjectionRecipe(Frozen):
    """`steps` of the loss at every narrower width, on `batch` pairs of each kind.

    `teacher`: the share of the loss that draws the similarities of all vectors of a batch, queries and answers alike,
    to those of the full width; the rest draws each to its partner, which learns few pairs by heart. `narrowest`: what
    the narrowest width weighs beside one for each of the others. `grids`: crossings of subjects and wishes to
    learn from.
    """

    steps: int = Field(default=300, gt=0)
    batch: int = Field(default=256, gt=1)
    rate: float = Field(default=2e-3, gt=0)
    temperature: float = Field(default=0.05, gt=0)
    teacher: float = Field(default=1.0, ge=0, le=1)
    narrowest: float = Field(default=1.0, gt=0)
    grids: int = Field(default=50, gt=0)
    seed: int = 0


def learn_projection(
    start: torch.Tensor, pairs: Mapping[str, Sides], widths: Sequence[int], recipe: ProjectionRecipe
) -> torch.Tensor:
    """Turn an orthogonal projection so that its prefixes retrieve as well as they can.

    A turned orthogonal map is orthogonal: at the full width every cosine stays what it was.

    Args:
        start: orthogonal rows `[hidden, hidden]`.
        pairs: by kind; every kind counts alike.
        widths: the full one first.
        recipe: schedule.

    Returns:
        Orthogonal rows `[hidden, hidden]`.
    """
    generator = torch.Generator().manual_seed(recipe.seed)
    turn = torch.zeros_like(start, requires_grad=True)
    optimizer = torch.optim.Adam([turn], lr=recipe.rate)
    kinds = {name: (normalize(asked), normalize(answers)) for name, (asked, answers) in sorted(pairs.items())}
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * min(1.0, 2 * (recipe.steps - step) / recipe.steps)
        rows = _turned(turn, start)
        losses = []
        for asked, answers in kinds.values():
            drawn = torch.randint(len(asked), (min(recipe.batch, len(asked)),), generator=generator)
            losses.append(_prefix_loss(asked[drawn], answers[drawn], rows, widths[1:], recipe))
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return _turned(turn, start).detach()


def _turned(turn: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """`start` turned by Cayley's rotation of an antisymmetric matrix, a tenth of the cost of its exponential."""
    half, eye = (turn - turn.T) / 2, torch.eye(len(turn))
    turned: torch.Tensor = torch.linalg.solve(eye - half, eye + half) @ start
    return turned


def _prefix_loss(
    asked: torch.Tensor,
    answers: torch.Tensor,
    rows: torch.Tensor,
    widths: Sequence[int],
    recipe: ProjectionRecipe,
) -> torch.Tensor:
    both = torch.cat([asked, answers])
    partner = _others(torch.eye(len(both)).roll(len(asked), 0))
    likely = (_others(both @ both.T) / recipe.temperature).softmax(1)
    wanted = recipe.teacher * likely + (1 - recipe.teacher) * partner
    turned = both @ rows[: max(widths)].T
    losses = []
    for width in widths:
        short = normalize(turned[:, :width])
        loss = cross_entropy(_others(short @ short.T) / recipe.temperature, wanted)
        losses.append(loss * (recipe.narrowest if width == min(widths) else 1.0))
    return torch.stack(losses).sum() / (len(widths) - 1 + recipe.narrowest)


def _others(square: torch.Tensor) -> torch.Tensor:
    """`[n, n - 1]` of `[n, n]`: what each vector is to the others, without itself."""
    n = len(square)
    return square[~torch.eye(n, dtype=torch.bool)].view(n, n - 1)
