"""Pictures into the trunk: what is seen is named, in the space of the trunk's texts, and said in soft tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from operators.model.fused.config import FusedConfig
from operators.model.fused.soft import SoftTokens

_WIDTH = 0.1
"""Of the kernel `exp((cosine - 1) / _WIDTH)` between pictures."""


class VisionTokens(nn.Module):
    """The adapter of the vision tower: a concept first, then tokens that the trunk reads as that concept.

    The concept is a point of the space of the trunk's text vectors, so that what speaks it can be trained on texts
    alone. One token more carries what the concept leaves out.
    """

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.concepts = Concepts(config)
        self.speaker = Speaker(config.hidden, config.picture_tokens - 1)
        self.rest = SoftTokens(config.vision_dim, config.hidden)
        nn.init.zeros_(self.rest.linear.weight)
        nn.init.zeros_(self.rest.linear.bias)

    def forward(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Soft tokens `[picture_tokens, hidden]` of each picture.

        Args:
            features: of each picture `[1 + cells, vision_dim]`, the mean over its cells first.
        """
        if not features:
            return []
        seen = torch.stack([f[0] for f in features])
        return list(self.say(self.concepts(seen), seen))

    def say(self, concepts: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        """Soft tokens `[pictures, picture_tokens, hidden]` of concepts and of the features that they came from."""
        return torch.cat([self.speaker(concepts), self.rest(seen)[:, None]], 1)


class Concepts(nn.Module):
    """Features to unit vectors in the space of text vectors, the mean of all captions taken off; fitted, not learned.

    The sum of two guesses: kernel ridge regression from the pictures that it was fitted to, and the classes that the
    tower's classifier believes in, each a text vector of its name. `classes` is `[image_classes, hidden]`; `mean`
    `[vision_dim]` and `basis` `[image_components, vision_dim]` whiten; `anchors` are the fitted pictures' unit vectors
    `[image_anchors, image_components]`, `duals` `[image_anchors, hidden]` what each adds.
    """

    classes: torch.Tensor
    mean: torch.Tensor
    basis: torch.Tensor
    anchors: torch.Tensor
    duals: torch.Tensor

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.classifier = nn.Linear(config.vision_dim, config.image_classes).requires_grad_(False)
        shapes = {
            "classes": (config.image_classes, config.hidden),
            "mean": (config.vision_dim,),
            "basis": (config.image_components, config.vision_dim),
            "anchors": (config.image_anchors, config.image_components),
            "duals": (config.image_anchors, config.hidden),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Concepts of the means over the cells, `[pictures, vision_dim]`: `[pictures, hidden]`."""
        alike = nn.functional.normalize(self.kernel(features) @ self.duals, dim=1)
        return nn.functional.normalize(alike + self.named(features), dim=1)

    def named(self, features: torch.Tensor) -> torch.Tensor:
        """The believed classes' vectors, weighted: `[pictures, hidden]`."""
        named: torch.Tensor = self.classifier(features).softmax(1) @ self.classes
        return named

    def kernel(self, features: torch.Tensor) -> torch.Tensor:
        """Likeness to each anchor, at most 1: `[pictures, image_anchors]`."""
        return torch.exp((self.reduce(features) @ self.anchors.T - 1) / _WIDTH)

    def reduce(self, features: torch.Tensor) -> torch.Tensor:
        """Whitened unit vectors `[pictures, image_components]`."""
        return nn.functional.normalize((features - self.mean) @ self.basis.T, dim=1)


class Speaker(nn.Module):
    """A concept as `tokens` of the trunk's input: a linear map and a network beside it."""

    def __init__(self, hidden: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.linear = nn.Linear(hidden, tokens * hidden)
        self.network = nn.Sequential(
            nn.Linear(hidden, 3 * hidden), nn.GELU(), nn.Linear(3 * hidden, tokens * hidden)
        )

    def forward(self, concepts: torch.Tensor) -> torch.Tensor:
        """Unit vectors `[batch, hidden]` to `[batch, tokens, hidden]`."""
        x = concepts * concepts.shape[1] ** 0.5
        spoken: torch.Tensor = self.linear(x) + self.network(x)
        return spoken.reshape(len(x), self.tokens, -1)
