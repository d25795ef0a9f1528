"""Training of what speaks a picture beside words: the mixture is read as both, and a picture alone as before."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import nn

from pipelines.training.joint import Item, Reader, Seen
from schemas.card import Frozen

_WARMUP, _FALL = 10, 0.7
_TURNED = 0.3
"""How often the words come first."""


class MixingRecipe(Frozen):
    """A step crosses some `subjects` with some `wishes`.

    The vector of a mixture is drawn to the sum of its parts' vectors and to its answer's, and, by `contrast`, away
    from the other answers of the step.
    """

    steps: int = Field(default=200, gt=0)
    subjects: int = Field(default=5, gt=1)
    wishes: int = Field(default=6, gt=1)
    rate: float = Field(default=5e-4, gt=0)
    contrast: float = Field(default=0.5, ge=0)
    temperature: float = Field(default=0.05, gt=0)
    seed: int = 0


def teach_mixtures(
    read: Reader,
    subjects: Sequence[tuple[Seen, str]],
    wishes: Sequence[tuple[str, str]],
    recipe: MixingRecipe,
    each: Callable[[int, float], None],
) -> list[float]:
    """Train the speaker beside words through the trunk as it is.

    Args:
        read: of the network, whose `vision.beside` changes and nothing else.
        subjects: pictures, each with what it is called.
        wishes: what is said beside a picture, and how an answer says it.
        recipe: sizes and schedule.
        each: called after every step with its number and loss.

    Returns:
        The loss of each step.
    """
    vision = read.network.vision
    read.network.requires_grad_(False)
    vision.beside.requires_grad_(True)
    optimizer = torch.optim.AdamW(vision.beside.parameters(), lr=recipe.rate, weight_decay=0.0)
    rng = random.Random(recipe.seed)  # noqa: S311
    losses: list[float] = []
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            left = (recipe.steps - step) / (_FALL * recipe.steps)
            group["lr"] = recipe.rate * min(1.0, (step + 1) / _WARMUP, left)
        crossed = _crossed(
            read, rng.sample(subjects, recipe.subjects), rng.sample(wishes, recipe.wishes), rng
        )
        loss = _mixture_loss(*crossed, recipe)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        each(step, losses[-1])
    read.network.requires_grad_(True)
    return losses


def _crossed(
    read: Reader, subjects: Sequence[tuple[Seen, str]], wishes: Sequence[tuple[str, str]], rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors `[subjects * wishes, dim]` of the mixtures, of the sums of their parts, and of their answers."""
    grid = [(subject, wish) for subject in subjects for wish in wishes]
    turned = rng.random() < _TURNED
    items: list[Item] = [(w[0], s[0]) if turned else (s[0], w[0]) for s, w in grid]
    with torch.no_grad():
        answers = read([(f"{wish[1]}: {name}",) for (_, name), wish in grid])
        words = _unit(read([(wish[0],) for wish in wishes]))
        seen = _unit(read([(seen,) for seen, _ in subjects]))
        sums = (seen[:, None] + words[None]).flatten(0, 1)
    return read(items), sums, answers


def _mixture_loss(
    mixed: torch.Tensor, sums: torch.Tensor, answers: torch.Tensor, recipe: MixingRecipe
) -> torch.Tensor:
    scores = _unit(mixed) @ _unit(answers).T / recipe.temperature
    contrast = nn.functional.cross_entropy(scores, torch.arange(len(scores), device=scores.device))
    return 2 - _cosine(mixed, sums).mean() - _cosine(mixed, answers).mean() + recipe.contrast * contrast


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return nn.functional.cosine_similarity(a, b, dim=1)


def _unit(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.normalize(x, dim=1)
