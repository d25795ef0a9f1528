"""Train the composed model's image head and rotation on cached features of its frozen towers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from operators.model.composed.heads import DIM, HeadMember, ImageHead

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRecipe:
    """Sizes and rates of the image head."""

    reduced: int = 512
    hidden: int = 768
    members: int = 3
    steps: int = 1500
    batch: int = 512
    rate: float = 1e-3
    decay: float = 0.1
    dropout: float = 0.3
    noise: float = 0.1
    temperature: float = 0.05
    distill: float = 2.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Captions:
    """Text vectors `[texts, 384]` and, for each picture, the rows that are its captions, the name first."""

    vectors: Vectors
    rows: list[list[int]]


def whitening(features: Vectors, reduced: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean `[features]` and basis `[reduced, features]` that make the leading components of unit variance."""
    x = torch.from_numpy(features)
    mean = x.mean(0)
    _, values, rows = torch.linalg.svd(x - mean, full_matrices=False)
    spread = values[:reduced] / len(x) ** 0.5
    return mean, rows[:reduced] / spread.clamp_min(1e-3 * float(spread[0]))[:, None]


def train_head(views: Sequence[Vectors], captions: Captions, recipe: HeadRecipe) -> ImageHead:
    """An image head from features `[pictures, features]` of each augmented view, the plain one first.

    Each step draws a view and a caption for each picture of the batch; the loss is contrastive both ways,
    where captions that are nearly the same are no negatives, and pulls towards the picture's mean caption.
    """
    head = ImageHead(views[0].shape[1], recipe.reduced, recipe.hidden, recipe.members)
    mean, basis = whitening(views[0], recipe.reduced)
    head.mean.copy_(mean)
    head.basis.copy_(basis)
    with torch.inference_mode():
        reduced = torch.stack([head.reduce(torch.from_numpy(v)) for v in views])
    reduced = reduced.clone()
    for number in range(recipe.members):
        member = _train_member(reduced, captions, recipe, recipe.seed * 101 + number)
        head.members[number].load_state_dict(member.state_dict())
    return head.eval()


def _train_member(views: torch.Tensor, captions: Captions, recipe: HeadRecipe, seed: int) -> HeadMember:
    torch.manual_seed(seed)
    rng = random.Random(seed)  # noqa: S311
    member = HeadMember(recipe.reduced, recipe.hidden, recipe.dropout).train()
    texts = torch.from_numpy(captions.vectors)
    centre = torch.stack([_centre(texts[rows]) for rows in captions.rows])
    optimizer = torch.optim.AdamW(member.parameters(), lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, recipe.rate, recipe.steps, pct_start=0.1)
    for _ in range(recipe.steps):
        picked = torch.tensor(rng.sample(range(views.shape[1]), min(recipe.batch, views.shape[1])))
        view = torch.randint(views.shape[0], (len(picked),))
        x = views[view, picked]
        x = x + recipe.noise * torch.randn_like(x)
        chosen = torch.tensor([_draw(captions.rows[i], rng) for i in picked.tolist()])
        loss = head_loss(member(x), texts[chosen], centre[picked], recipe)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return member.eval()


def head_loss(
    images: torch.Tensor, texts: torch.Tensor, centres: torch.Tensor, recipe: HeadRecipe
) -> torch.Tensor:
    """Contrast of pictures `[batch, 384]` with their captions, and distance from their mean caption."""
    unit = nn.functional.normalize(images, dim=1)
    near = (texts @ texts.T > 0.9) & ~torch.eye(len(texts), dtype=torch.bool)
    scores = (unit @ texts.T / recipe.temperature).masked_fill(near, float("-inf"))
    target = torch.arange(len(texts))
    contrast = nn.functional.cross_entropy(scores, target) + nn.functional.cross_entropy(scores.T, target)
    return contrast / 2 + recipe.distill * (1 - (unit * centres).sum(1)).mean()


def rotation_of(texts: Vectors) -> torch.Tensor:
    """The orthogonal map `[384, 384]` to the principal axes of text vectors, the strongest first."""
    x = torch.from_numpy(texts).double()
    _, vectors = torch.linalg.eigh(x.T @ x)
    rotation: torch.Tensor = vectors.flip(1).T.float()
    if rotation.shape != (DIM, DIM):
        raise ValueError(f"texts are {texts.shape[1]} wide, the common space {DIM}")
    return rotation.contiguous()


def _draw(rows: list[int], rng: random.Random) -> int:
    return rows[0] if rng.random() < 0.5 else rng.choice(rows)


def _centre(vectors: torch.Tensor) -> torch.Tensor:
    """The name weighs as much as all else that is said."""
    mean = vectors[0] + vectors.mean(0)
    return nn.functional.normalize(mean, dim=0)
