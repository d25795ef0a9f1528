"""From training data to what is drawn from it: tasks of the joint stages, and pairs for the projection."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch

from pipelines.training.data.sound import NOBODY
from pipelines.training.joint import Heard, Item, Seen, composed, named_pictures, spoken, text_pairs
from pipelines.training.prepare import TrainingData
from pipelines.training.trainer import Task

_MOST = 10_000
"""Pairs of texts."""
_SIDE = 8
"""Subjects of a grid, and the wishes that each is crossed with."""
_NAMED = 90
"""Characters of a text that is a subject beside a wish."""


def utterances(data: TrainingData, device: torch.device) -> list[tuple[Heard, str]]:
    """What somebody says in the data's sounds, with its text."""
    return [
        (Heard(torch.from_numpy(np.array(sound.features, np.float32)).to(device)), sound.text)
        for sound in data.sounds
        if sound.voice != NOBODY
    ]


def joint_tasks(
    data: TrainingData,
    seen: Sequence[Seen],
    rows: Sequence[int],
    sounds: Sequence[tuple[Heard, str]],
    unseen: int,
    teach: Callable[[Sequence[str]], torch.Tensor],
) -> dict[str, Task[Item]]:
    """Every task that there is data for; arguments are those of `retrieval_pairs`, and the texts' teacher."""
    pairs, wishes = data.pairs[unseen:], data.wishes[unseen:]
    tasks = {
        "picture": named_pictures([data.pictures[i] for i in rows], [seen[i] for i in rows]),
        "picture+words": composed([(seen[i], data.pictures[i].name) for i in rows], wishes),
        "text": text_pairs(pairs, teach),
    }
    if sounds:
        tasks |= {"speech": spoken(sounds), "speech+words": composed(sounds, wishes)}
    return tasks


def retrieval_pairs(
    data: TrainingData, seen: Sequence[Seen], rows: Sequence[int], unseen: int, grids: int
) -> dict[str, tuple[list[Item], list[Item]]]:
    """Queries and their answers by kind; a text beside words stands for what would be said aloud.

    Args:
        data: pictures, text pairs and wishes.
        seen: every picture, by a concept that was not fitted to its noun.
        rows: of the pictures that are taken.
        unseen: text pairs and wishes that are kept for validation: the first.
        grids: of subjects and wishes, drawn anew each time.
    """
    texts, wishes = data.pairs[unseen:][:_MOST], data.wishes[unseen:]
    said = [(answer, answer) for _, answer in texts if len(answer) < _NAMED]
    return {
        "text": ([(asked,) for asked, _ in texts], [(answer,) for _, answer in texts]),
        "picture": ([(data.pictures[i].name,) for i in rows], [(seen[i],) for i in rows]),
        "picture+words": _crossed([(seen[i], data.pictures[i].name) for i in rows], wishes, grids, 0),
        "text+words": _crossed(said, wishes, grids, 1),
    }


def _crossed(
    subjects: Sequence[tuple[Seen | str, str]], wishes: Sequence[tuple[str, str]], grids: int, seed: int
) -> tuple[list[Item], list[Item]]:
    """Mixtures and their answers: many small grids know more subjects and wishes than a large one."""
    side = min(_SIDE, len(subjects), len(wishes))
    rng, draw = random.Random(seed), composed(subjects, wishes, side)  # noqa: S311
    drawn = [draw(side * side, rng) for _ in range(grids)]
    return [q for grid in drawn for q in grid.queries], [a for grid in drawn for a in grid.positives]
