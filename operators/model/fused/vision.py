"""Pictures into the trunk: what is seen is named, in the space of the trunk's texts, and said in soft tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from operators.model.fused.config import FusedConfig

_WIDTH = 0.1
"""Of the kernel `exp((likeness - 1) / _WIDTH)` between pictures."""


class VisionTokens(nn.Module):
    """The adapter of the vision tower: a concept first, then tokens that the trunk reads as that concept.

    The concept is a point of the space of the trunk's text vectors, so that what speaks it can be trained on texts
    alone. Beside words it is spoken otherwise than alone: what reads well alone drowns or outshouts them.
    """

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.concepts = Concepts(config)
        self.speaker = Speaker(config.hidden, config.picture_tokens)
        self.beside = Speaker(config.hidden, config.picture_tokens)

    def forward(self, features: Sequence[torch.Tensor], beside: Sequence[bool]) -> list[torch.Tensor]:
        """Soft tokens `[picture_tokens, hidden]` of each picture's features `[vision_dim]`, alone or beside words."""
        return list(self.say(self.concepts(torch.stack(list(features))), beside)) if features else []

    def say(self, concepts: torch.Tensor, beside: Sequence[bool]) -> torch.Tensor:
        """Soft tokens `[pictures, picture_tokens, hidden]` of concepts `[pictures, hidden]`."""
        company = torch.tensor(beside, device=concepts.device)[:, None, None]
        said: torch.Tensor = torch.where(company, self.beside(concepts), self.speaker(concepts))
        return said


class Concepts(nn.Module):
    """Features to unit vectors in the space of text vectors, the mean of all captions taken off; fitted, not learned.

    The sum of two guesses: kernel ridge regression from the pictures that it was fitted to, and the classes that the
    tower's classifier believes in, each a text vector of its name. `classes` is `[image_classes, hidden]`; `mean` and
    `scale` `[vision_dim]` standardise; `basis` `[components, group]` whitens each group of features by itself;
    `anchors` are the fitted pictures' unit vectors `[image_anchors, components of all groups]`, `duals`
    `[image_anchors, hidden]` what each adds.
    """

    classes: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor
    anchors: torch.Tensor
    duals: torch.Tensor

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.groups = list(config.vision_groups)
        self.classifier = nn.Linear(self.groups[0], config.image_classes).requires_grad_(False)
        for number, (group, components) in enumerate(
            zip(config.vision_groups, config.image_components, strict=True)
        ):
            self.register_buffer(f"basis_{number}", torch.zeros(components, group))
        shapes = {
            "classes": (config.image_classes, config.hidden),
            "mean": (config.vision_dim,),
            "scale": (config.vision_dim,),
            "anchors": (config.image_anchors, sum(config.image_components)),
            "duals": (config.image_anchors, config.hidden),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    @property
    def bases(self) -> list[torch.Tensor]:
        """The whitening rows of each group."""
        return [self.get_buffer(f"basis_{number}") for number in range(len(self.groups))]

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Concepts of features `[pictures, vision_dim]`: `[pictures, hidden]`."""
        alike = nn.functional.normalize(self.kernel(features) @ self.duals, dim=1)
        return nn.functional.normalize(alike + self.named(features), dim=1)

    def named(self, features: torch.Tensor) -> torch.Tensor:
        """The believed classes' vectors, weighted: `[pictures, hidden]`."""
        named: torch.Tensor = self.classifier(features[:, : self.groups[0]]).softmax(1) @ self.classes
        return named

    def kernel(self, features: torch.Tensor) -> torch.Tensor:
        """Likeness to each anchor, at most 1: `[pictures, image_anchors]`."""
        return torch.exp((self.reduce(features) @ self.anchors.T - 1) / _WIDTH)

    def reduce(self, features: torch.Tensor) -> torch.Tensor:
        """Unit vectors `[pictures, components of all groups]`: each group whitened, and as heavy as any other."""
        parts = ((features - self.mean) * self.scale).split_with_sizes(self.groups, 1)
        white = [
            nn.functional.normalize(part @ basis.T, dim=1)
            for part, basis in zip(parts, self.bases, strict=True)
        ]
        likeness: torch.Tensor = torch.cat(white, 1) / len(white) ** 0.5
        return likeness


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
