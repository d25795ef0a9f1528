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

_MOST = 5_000
"""Pairs of texts."""
_CROSSED = 40
"""Pictures, and the wishes that each is crossed with."""


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
    data: TrainingData, seen: Sequence[Seen], rows: Sequence[int], unseen: int
) -> dict[str, tuple[list[Item], list[Item]]]:
    """Queries and their answers by kind.

    Args:
        data: pictures, text pairs and wishes.
        seen: every picture, by a concept that was not fitted to its noun.
        rows: of the pictures that are taken.
        unseen: text pairs and wishes that are kept for validation: the first.
    """
    texts, wishes = data.pairs[unseen:][:_MOST], data.wishes[unseen:]
    side = min(_CROSSED, len(rows), len(wishes))
    subjects = [(seen[i], data.pictures[i].name) for i in rows]
    mixed = composed(subjects, wishes, side)(side * side, random.Random(0))  # noqa: S311
    return {
        "text": ([(asked,) for asked, _ in texts], [(answer,) for _, answer in texts]),
        "picture": ([(data.pictures[i].name,) for i in rows], [(seen[i],) for i in rows]),
        "picture+words": (list(mixed.queries), list(mixed.positives)),
    }
