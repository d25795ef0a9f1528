"""Training of what speaks a picture beside words: the mixture is read as both, and a picture alone as before."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from pipelines.training.descent import teach
from pipelines.training.joint import Item, Reader, Seen
from schemas.card import Frozen

_WARMUP = 10
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
    rng = random.Random(recipe.seed)  # noqa: S311

    def loss_of() -> torch.Tensor:
        drawn = rng.sample(subjects, recipe.subjects), rng.sample(wishes, recipe.wishes)
        return _mixture_loss(*_crossed(read, *drawn, rng), recipe)

    learning = list(read.network.vision.beside.parameters())
    return teach(
        read.network, learning, loss_of, steps=recipe.steps, rate=recipe.rate, warmup=_WARMUP, each=each
    )


def _crossed(
    read: Reader, subjects: Sequence[tuple[Seen, str]], wishes: Sequence[tuple[str, str]], rng: random.Random
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors `[subjects * wishes, dim]` of the mixtures, of the sums of their parts, and of their answers."""
    grid = [(subject, wish) for subject in subjects for wish in wishes]
    turned = rng.random() < _TURNED
    items: list[Item] = [(w[0], s[0]) if turned else (s[0], w[0]) for s, w in grid]
    with torch.no_grad():
        answers = read([(f"{wish[1]}: {name}",) for (_, name), wish in grid])
        words = normalize(read([(wish[0],) for wish in wishes]))
        seen = normalize(read([(seen,) for seen, _ in subjects]))
        sums = (seen[:, None] + words[None]).flatten(0, 1)
    return read(items), sums, answers


def _mixture_loss(
    mixed: torch.Tensor, sums: torch.Tensor, answers: torch.Tensor, recipe: MixingRecipe
) -> torch.Tensor:
    scores = normalize(mixed) @ normalize(answers).T / recipe.temperature
    contrast = cross_entropy(scores, torch.arange(len(scores), device=scores.device))
    return (
        2
        - cosine_similarity(mixed, sums).mean()
        - cosine_similarity(mixed, answers).mean()
        + recipe.contrast * contrast
    )
