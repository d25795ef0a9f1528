"""Training of the hearing adapter through the frozen trunk: a sound's vector is drawn to that of what was said."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import torch

from operators.model.fused.network import FusedNetwork, Piece
from operators.parts import PartKind
from pipelines.training.data.sound import NOBODY, Heard
from pipelines.training.trainer import Pairs, Stage, Task, Trainer

Example = Heard | torch.Tensor
"""A sound for the network, or a vector that stands already."""

STAGES = (
    Stage(
        name="hearing",
        steps=150,
        batch=24,
        chunk=48,
        rate=2e-4,
        warmup=20,
        distill=5.0,
        shares={"speech": 1.0},
    ),
    Stage(
        name="unspoken",
        steps=90,
        batch=16,
        chunk=32,
        rate=1e-3,
        warmup=5,
        distill=5.0,
        shares={"speech": 0.6, "unspoken": 0.4},
        frozen=("beyond.", "norm.", "evenness"),
    ),
)
"""What the shipped adapter was trained by: words first, then what stands for sounds without any.

A chunk holds a batch's sounds and the vectors of their texts at once.
"""


def speech_task(heard: Sequence[Heard], vectors: torch.Tensor) -> Task[Example]:
    """Sounds drawn at random; their positives, and their teachers, are vectors of their texts `[sounds, dim]`."""
    numbers = {text: number for number, text in enumerate(dict.fromkeys(h.text for h in heard))}

    def draw(count: int, rng: random.Random) -> Pairs[Example]:
        chosen = [rng.randrange(len(heard)) for _ in range(count)]
        said = [vectors[i] for i in chosen]
        return Pairs(
            queries=[heard[i] for i in chosen],
            positives=said,
            query_ids=chosen,
            positive_ids=[numbers[heard[i].text] for i in chosen],
            teacher=torch.stack(said),
        )

    return draw


def teach_hearing(
    network: FusedNetwork,
    heard: Sequence[Heard],
    vectors: torch.Tensor,
    folder: Path,
    stages: Sequence[Stage] = STAGES,
    seed: int = 0,
    stop_after: int | None = None,
) -> list[float]:
    """Train `network.audio` alone; an interrupted run goes on from `folder`.

    Args:
        network: its trunk reads text as it should; nothing but the adapter changes.
        heard: sounds with what was said in each.
        vectors: the teacher's vectors of the texts, float32 `[sounds, dim]`.
        folder: of the run's checkpoints, which hold the adapter.
        stages: as the trainer takes them, of the tasks `speech` (every sound) and `unspoken` (those of nobody).
        seed: of the order of sounds.
        stop_after: stop after so many steps in all, as an interruption would.

    Returns:
        The loss of each step.

    Raises:
        UsageError: the folder holds a run of another recipe.
    """
    network.eval().requires_grad_(False)
    network.audio.requires_grad_(True)

    def embed(inputs: Sequence[Example]) -> torch.Tensor:
        sounds = [x for x in inputs if isinstance(x, Heard)]
        found = iter(network([[_piece(sound)] for sound in sounds]))
        return torch.stack([next(found) if isinstance(x, Heard) else x for x in inputs])

    tasks = {"speech": speech_task(heard, vectors)}
    if unspoken := [i for i, sound in enumerate(heard) if sound.voice == NOBODY]:
        tasks["unspoken"] = speech_task([heard[i] for i in unspoken], vectors[unspoken])
    trainer = Trainer(
        model=network.audio,
        embed=embed,
        tasks=tasks,
        widths=network.config.widths,
        folder=folder,
        seed=seed,
    )
    return trainer.run(stages, stop_after)


def _piece(heard: Heard) -> Piece:
    return Piece(PartKind.AUDIO, torch.tensor(heard.features))
