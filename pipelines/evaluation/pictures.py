"""Names asked of pictures: an unseen source, and nouns that no training picture shows."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from pipelines.evaluation.items import ImageFile
from pipelines.evaluation.sets import Kind, RetrievalSet
from pipelines.training.data import pictures as data_pictures
from pipelines.training.data.pictures import Picture
from pipelines.training.data.splits import split


def tuxpaint(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """Stamps by their English description; a source that no model here was trained on."""
    note = "Tux Paint stamps (GPL-2+, evaluation only): a source that is not trained on; nouns may be"
    return _named("tuxpaint", list(data_pictures.stamps(data)), seed, most, note)


def emoji(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """Fluent emoji whose head noun is held out."""
    note = "Fluent emoji of held-out head nouns: no training picture bears the noun in its name or keywords"
    return _named("emoji", held_out(data, "fluent"), seed, most, note)


def clip_art(data: Path, seed: int, most: int | None) -> RetrievalSet:
    """Clip art whose head noun is held out."""
    note = "openclipart of held-out head nouns: no training picture bears the noun in its name or keywords"
    return _named("clip-art", held_out(data, "clipart"), seed, most, note)


def held_out(data: Path, source: str) -> list[Picture]:
    """Test pictures of a source, of the split that training uses."""
    _, test = split(
        [*data_pictures.clip_art(data), *data_pictures.fluent_emoji(data), *data_pictures.noto_emoji(data)]
    )
    return [p for p in test if p.source == source]


def _named(name: str, pictures: Sequence[Picture], seed: int, most: int | None, note: str) -> RetrievalSet:
    """Each distinct name asks for the pictures that bear it."""
    bearers: dict[str, set[int]] = {}
    for row, picture in enumerate(pictures):
        bearers.setdefault(picture.name, set()).add(row)
    names = random.Random(seed).sample(sorted(bearers), min(most or len(bearers), len(bearers)))  # noqa: S311
    return RetrievalSet(
        name=name,
        kind=Kind.PICTURE,
        queries=[(n,) for n in names],
        gallery=[(ImageFile(p.path),) for p in pictures],
        relevant=[bearers[n] for n in names],
        seed=seed,
        note=note,
    )
