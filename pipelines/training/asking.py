"""Training of the roles of a text with a question in it: the passage is found that the question asks the text for."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from pydantic import Field
from torch.nn.functional import cosine_similarity, cross_entropy, normalize

from operators.model.fused.asking import times, woven
from operators.model.fused.network import Piece
from operators.parts import PartKind
from pipelines.training.data.pages import Questions
from pipelines.training.descent import teach
from pipelines.training.joint import Reader
from schemas.card import Frozen

_WARMUP = 10


class AskingRecipe(Frozen):
    """A step asks `batch` questions of some of `pages`; a share `wished` of the steps crosses `side` pages with wishes.

    By cross-entropy at every width the vector is drawn to its answer and away from the passages of all the pages, or
    from the other answers of the step, and by `sums` to the sum of the page's and the question's vectors.
    """

    steps: int = Field(default=120, gt=0)
    pages: int = Field(default=360, gt=1)
    batch: int = Field(default=14, gt=0)
    wished: float = Field(default=0.25, ge=0, le=1)
    side: int = Field(default=10, gt=1)
    rate: float = Field(default=3e-3, gt=0)
    temperature: float = Field(default=0.05, gt=0)
    sums: float = Field(default=1.0, ge=0)
    seed: int = 0


def teach_roles(
    read: Reader,
    pages: Sequence[str],
    wishes: Sequence[tuple[str, str]],
    widths: Sequence[int],
    recipe: AskingRecipe,
    each: Callable[[int, float], None],
) -> list[float]:
    """Train what is added to the tokens of a text and of a question woven into it, through the trunk as it is.

    Args:
        read: of the network, whose `roles` change and nothing else: every other input is read as before.
        pages: that are asked.
        wishes: what is said beside a page, and how an answer says it.
        widths: of the vectors.
        recipe: sizes and schedule.
        each: called after every step with its number and loss.

    Returns:
        The loss of each step.
    """
    rng = random.Random(recipe.seed)  # noqa: S311
    questions = Questions.of(rng.sample(pages, min(recipe.pages, len(pages))), rng)
    passages = read.all([(passage,) for passage in questions.passages])
    whole = normalize(read.all([(page,) for page in questions.pages]), dim=1)

    def loss_of() -> torch.Tensor:
        wished = rng.random() < recipe.wished
        asked = (
            _wished(read, questions, whole, wishes, recipe, rng)
            if wished
            else _asked(questions, whole, passages, recipe, rng)
        )
        return _loss(read, asked, widths, recipe, first=rng.random() < 0.5)

    learning = [read.network.roles.weight]
    return teach(
        read.network, learning, loss_of, steps=recipe.steps, rate=recipe.rate, warmup=_WARMUP, each=each
    )


@dataclass(frozen=True, slots=True)
class _Asking:
    """What is said beside each page, the pages' unit vectors `[batch, dim]`, and which of `passages`, `[gallery, dim]`,
    answers.
    """

    pages: Sequence[str]
    said: Sequence[str]
    whole: torch.Tensor
    passages: torch.Tensor
    answers: Sequence[int]


def _asked(
    questions: Questions,
    whole: torch.Tensor,
    passages: torch.Tensor,
    recipe: AskingRecipe,
    rng: random.Random,
) -> _Asking:
    drawn = questions.draw(recipe.batch, rng)
    numbers = [one.page for one in drawn]
    return _Asking(
        pages=[questions.pages[number] for number in numbers],
        said=[one.question(rng) for one in drawn],
        whole=whole[numbers],
        passages=passages,
        answers=[one.passage for one in drawn],
    )


def _wished(
    read: Reader,
    questions: Questions,
    whole: torch.Tensor,
    wishes: Sequence[tuple[str, str]],
    recipe: AskingRecipe,
    rng: random.Random,
) -> _Asking:
    """Some of the pairs of drawn pages and wishes; the answers of all pairs begin as the pages do."""
    numbers = rng.sample(range(len(questions.pages)), recipe.side)
    drawn = rng.sample(wishes, recipe.side)
    starts = [questions.start(number) for number in numbers]
    with torch.no_grad():
        answers = read([(f"{answer}: {start}",) for start in starts for _, answer in drawn])
    pairs = rng.sample(range(recipe.side**2), min(recipe.batch, recipe.side**2))
    of = [numbers[pair // recipe.side] for pair in pairs]
    return _Asking(
        pages=[questions.pages[number] for number in of],
        said=[drawn[pair % recipe.side][0] for pair in pairs],
        whole=whole[of],
        passages=answers,
        answers=pairs,
    )


def _loss(
    read: Reader, asked: _Asking, widths: Sequence[int], recipe: AskingRecipe, *, first: bool
) -> torch.Tensor:
    found = _together(read, asked, first=first)
    with torch.no_grad():
        sums = asked.whole + normalize(read([(said,) for said in asked.said]), dim=1)
    answers = torch.tensor(asked.answers, device=found.device)
    told = [
        cross_entropy(_cosines(found[:, :width], asked.passages[:, :width]) / recipe.temperature, answers)
        for width in widths
    ]
    return torch.stack(told).mean() + recipe.sums * (1 - cosine_similarity(found, sums).mean())


def _together(read: Reader, asked: _Asking, *, first: bool) -> torch.Tensor:
    """Vectors `[batch, dim]` of the pages with what is said in them, as a query is prepared."""
    network, counter = read.network, read.tokenizer
    most = network.config.positions - len(counter.prefix) - len(counter.suffix)
    inputs = []
    for page, said in zip(asked.pages, asked.said, strict=True):
        long, short = counter.ids(page), counter.ids(said)
        ids = woven(long, short, times(len(long), len(short), most), first=first)
        row = torch.tensor([*counter.prefix, *ids, *counter.suffix], device=network.roles.weight.device)
        inputs.append([Piece(PartKind.TOKENS, row)])
    vectors: torch.Tensor = network(inputs)
    return vectors


def _cosines(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return normalize(one, dim=1) @ normalize(other, dim=1).T
