"""Validation of a joint run: what was kept out of it, scored by one number for each kind of task."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from operators.model.fused.network import FusedNetwork
from pipelines.evaluation.retrieval import evaluate
from pipelines.training.joint import Item, Reader, Seen, composed
from pipelines.training.prepare import TrainingData

_SIDE = 12


@dataclass(frozen=True, slots=True)
class Validation:
    """Named retrieval sets: queries, gallery, and the gallery rows that answer each query."""

    sets: dict[str, tuple[Sequence[Item], Sequence[Item], Sequence[set[int]]]]

    @classmethod
    def of(cls, data: TrainingData, rows: Sequence[int], seen: Sequence[Seen], unseen: int) -> Validation:
        """Sets of the pictures `rows`, and of the first `unseen` text pairs and wishes."""
        bearers: dict[str, set[int]] = {}
        for place, row in enumerate(rows):
            bearers.setdefault(data.pictures[row].name, set()).add(place)
        named = (
            [(name,) for name in bearers],
            [(seen[row],) for row in rows],
            list(bearers.values()),
        )
        subjects = [(seen[row], data.pictures[row].name) for row in rows]
        rng = random.Random(0)  # noqa: S311
        side = min(_SIDE, len(subjects), len(data.wishes[:unseen]))
        crossed = composed(subjects, data.wishes[:unseen], side)(side * side, rng)
        pairs = data.pairs[:unseen]
        sets: dict[str, tuple[Sequence[Item], Sequence[Item], Sequence[set[int]]]] = {
            "picture": named,
            "picture+words": (crossed.queries, crossed.positives, _answers(crossed.positive_ids)),
            "text": ([(q,) for q, _ in pairs], [(p,) for _, p in pairs], [{i} for i in range(len(pairs))]),
        }
        return cls({name: one for name, one in sets.items() if one[0]})

    def scores(self, network: FusedNetwork, read: Reader) -> dict[str, float]:
        """NDCG@10 of each set, and of each at the narrowest width as `NAME@WIDTH`."""
        found: dict[str, float] = {}
        narrow = network.config.widths[-1]
        for name, (queries, gallery, relevant) in self.sets.items():
            asked, answers = (read.all(items).float().cpu().numpy() for items in (queries, gallery))
            found[name] = evaluate(asked, answers, relevant).scores["nDCG@10"].mean
            cut = evaluate(asked[:, :narrow], answers[:, :narrow], relevant)
            found[f"{name}@{narrow}"] = cut.scores["nDCG@10"].mean
        return found

    @staticmethod
    def mean(scores: dict[str, float]) -> float:
        """The one number that checkpoints are compared by."""
        return sum(scores.values()) / len(scores)


def _answers(ids: Sequence[int]) -> list[set[int]]:
    rows: dict[int, set[int]] = {}
    for row, number in enumerate(ids):
        rows.setdefault(number, set()).add(row)
    return [rows[number] for number in ids]
