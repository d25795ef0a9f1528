"""Fit the composed model's image head and rotation on features of its frozen towers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from operators.model.composed.heads import DIM, WIDTH, ImageHead, reduce

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadRecipe:
    """`reduced`: whitened components kept; `ridge`: added to the kernel's diagonal. Chosen on held-out nouns."""

    reduced: int = 256
    ridge: float = 0.5
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Captions:
    """Text vectors `[texts, 384]` and, for each picture, the rows that are its captions, the name first."""

    vectors: Vectors
    rows: Sequence[Sequence[int]]

    def targets(self) -> torch.Tensor:
        """A unit vector for each picture: its name weighs as much as all that is said of it together."""
        texts = torch.from_numpy(self.vectors)
        sums = [texts[rows[0]] + texts[list(rows)].mean(0) for rows in self.rows]
        return nn.functional.normalize(torch.stack(sums), dim=1)


def fit_head(features: Vectors, captions: Captions, recipe: HeadRecipe) -> ImageHead:
    """The head that maps features `[pictures, features]` to what sets their captions apart.

    The mean caption is taken off the targets: what all pictures share tells none of them from another.
    """
    x = torch.from_numpy(features)
    mean, basis = whitening(x, recipe)
    anchors = reduce(x, mean, basis)
    targets = captions.targets()
    kernel = torch.exp((anchors @ anchors.T - 1) / WIDTH) + recipe.ridge * torch.eye(len(x))
    duals = torch.linalg.solve(kernel, targets - targets.mean(0))
    return ImageHead(mean, basis, anchors, duals).eval()


def whitening(features: torch.Tensor, recipe: HeadRecipe) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean `[features]` and basis `[reduced, features]` that give the leading components unit variance."""
    torch.manual_seed(recipe.seed)
    mean = features.mean(0)
    _, values, columns = torch.svd_lowrank(features - mean, q=recipe.reduced, niter=4)
    spread = values / len(features) ** 0.5
    return mean, (columns / spread).T.contiguous()


def rotation_of(texts: Vectors) -> torch.Tensor:
    """The orthogonal map `[384, 384]` to the principal axes of text vectors, the strongest first."""
    x = torch.from_numpy(texts).double()
    if x.shape[1] != DIM:
        raise ValueError(f"texts are {x.shape[1]} wide, the common space {DIM}")
    _, vectors = torch.linalg.eigh(x.T @ x)
    rotation: torch.Tensor = vectors.flip(1).T.float()
    return rotation.contiguous()
