"""Training of the vision adapter's first two parts: concepts by regression, and the speaker on texts alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import nn

from operators.model.fused.network import FusedNetwork
from operators.model.fused.vision import Concepts
from operators.parts import PartKind
from pipelines.training.descent import teach
from pipelines.training.heads import Captions, Vectors
from schemas.card import Frozen

_BATCH_PICTURES = 2_048
_EPS = 1e-6
_WARMUP = 20


class SightRecipe(Frozen):
    """Sizes and schedule; chosen on folds of the training nouns.

    `named`: weight of the classifier's classes beside the regression; `ridge`: added to the kernel's diagonal;
    `mixed`: texts in one concept at most, so that the blurred concepts of pictures are nothing new; `noise`: length
    of what is added to a concept of length one.
    """

    named: float = Field(default=1.0, ge=0)
    ridge: float = Field(default=1.0, gt=0)
    steps: int = Field(default=500, gt=0)
    batch: int = Field(default=64, gt=0)
    rate: float = Field(default=1e-3, gt=0)
    mixed: int = Field(default=4, gt=0)
    noise: float = Field(default=0.5, ge=0)
    seed: int = 0


def fit_concepts(
    concepts: Concepts, features: Vectors, captions: Captions, classes: Vectors, recipe: SightRecipe
) -> None:
    """Fill the concept head from pictures with captions.

    Args:
        concepts: its sizes say how many of the pictures become anchors: the first.
        features: `[pictures, vision_dim]`.
        captions: of the same pictures.
        classes: text vectors of the classifier's names `[image_classes, hidden]`.
        recipe: weights.
    """
    x = torch.from_numpy(features)[: len(concepts.anchors)]
    targets = captions.targets()[: len(x)]
    centre = targets.mean(0)
    named = torch.from_numpy(classes)
    concepts.classes.copy_(recipe.named * (named - named.mean(0)))
    fit_likeness(concepts, x, recipe.seed)
    with torch.no_grad():
        anchors = concepts.reduce(x)
        concepts.anchors.zero_()[: len(x)] = anchors
        # Padding anchors would be near pictures too: their duals stay zero, so they add nothing.
        kernel = concepts.kernel(x)[:, : len(x)] + recipe.ridge * torch.eye(len(x))
        concepts.duals.zero_()[: len(x)] = torch.linalg.solve(kernel, targets - centre)


def fit_likeness(concepts: Concepts, features: torch.Tensor, seed: int = 0) -> None:
    """Standardise and whiten, so that `reduce` tells pictures `[pictures, vision_dim]` apart."""
    concepts.mean.copy_(features.mean(0))
    concepts.scale.copy_(1 / (features.std(0) + _EPS))
    standard = (features - concepts.mean) * concepts.scale
    for basis, group in zip(concepts.bases, standard.split_with_sizes(concepts.groups, 1), strict=True):
        basis.copy_(_whitening(group, len(basis), seed))


def _whitening(centred: torch.Tensor, components: int, seed: int) -> torch.Tensor:
    """Whitening rows `[components, group]`; of fewer pictures than components the last rows are zero."""
    torch.manual_seed(seed)
    rank = min(components, len(centred) - 1)
    _, values, columns = torch.svd_lowrank(centred, q=rank, niter=4)
    basis = centred.new_zeros(components, centred.shape[1])
    basis[:rank] = (columns / (values / len(centred) ** 0.5)).T
    return basis


def concept_mixtures(
    texts: torch.Tensor, recipe: SightRecipe
) -> Callable[[int, torch.Generator], torch.Tensor]:
    """A source of concepts from text vectors `[texts, hidden]`: centred, mixed, noisy, of length one."""
    centred = nn.functional.normalize(texts - texts.mean(0), dim=1)

    def draw(count: int, generator: torch.Generator) -> torch.Tensor:
        picks = torch.randint(len(centred), (count, recipe.mixed), generator=generator)
        share = torch.rand(count, recipe.mixed, generator=generator) ** 3
        used = torch.randint(1, recipe.mixed + 1, (count, 1), generator=generator)
        share = share * (torch.arange(recipe.mixed) < used)
        noise = torch.randn(count, centred.shape[1], generator=generator)
        length = recipe.noise * torch.rand(count, 1, generator=generator)
        mixture = nn.functional.normalize((centred[picks] * share[..., None]).sum(1), dim=1)
        return nn.functional.normalize(mixture + length * nn.functional.normalize(noise, dim=1), dim=1)

    return draw


def teach_speaker(
    network: FusedNetwork, texts: torch.Tensor, recipe: SightRecipe, each: Callable[[int, float], None]
) -> list[float]:
    """Train the speaker so that the frozen trunk reads a spoken concept back; no picture is needed.

    Args:
        network: only its speaker and its picture markers change.
        texts: text vectors `[texts, hidden]` of the trunk, before the projection.
        recipe: schedule.
        each: called after every step with its number and loss.

    Returns:
        The loss of each step: one minus the mean cosine.
    """
    draw = concept_mixtures(texts, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)

    def loss_of() -> torch.Tensor:
        concepts = draw(recipe.batch, generator)
        read = network.read(spoken_rows(network, concepts))
        return 1 - nn.functional.cosine_similarity(read, network.projection(concepts), dim=1).mean()

    learning = [*network.vision.speaker.parameters(), network.markers.weight]
    return teach(network, learning, loss_of, steps=recipe.steps, rate=recipe.rate, warmup=_WARMUP, each=each)


def spoken_rows(network: FusedNetwork, concepts: torch.Tensor) -> list[torch.Tensor]:
    """The trunk's input for pictures of which nothing but the concept is known: `[tokens, hidden]` each."""
    return [network.between(PartKind.IMAGE, soft) for soft in network.vision.speaker(concepts)]


def concepts_of(concepts: Concepts, features: Vectors) -> torch.Tensor:
    """Concepts `[pictures, hidden]` of many pictures' features."""
    with torch.inference_mode():
        x = torch.from_numpy(features)
        return torch.cat([concepts(x[i : i + _BATCH_PICTURES]) for i in range(0, len(x), _BATCH_PICTURES)])


def class_vectors(names: Sequence[str], embed: Callable[[Sequence[str]], Vectors]) -> Vectors:
    """Text vectors of the classifier's names; one that has synonyms, split by commas, is the mean with all of them."""
    synonyms = [[name, *(s.strip() for s in name.split(",") if s.strip() != name)] for name in names]
    flat = sorted({s for row in synonyms for s in row})
    vectors = torch.from_numpy(embed(flat))
    place = {s: i for i, s in enumerate(flat)}
    rows = [vectors[[place[s] for s in row]].mean(0) + vectors[place[row[0]]] for row in synonyms]
    return nn.functional.normalize(torch.stack(rows), dim=1).numpy()
