"""What stands in the table: the model, the composed model as late fusion or as an ASR cascade, and frozen features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from operators.model.registry import BASELINE_MODEL, resolve
from pipelines.evaluation.frozen import FrozenPictures, FrozenSpeech
from pipelines.evaluation.items import Item, SpecEmbedder, Vectors
from pipelines.evaluation.sets import Kind, RetrievalSet
from schemas.card import Role

if TYPE_CHECKING:
    from operators.model.contract import ModelSpec

Embed = Callable[[Sequence[Item], str], Vectors]

PARTS = {
    "picture+words": ("picture alone", "words alone"),
    "speech+words": ("speech alone", "words alone"),
    "page+question": ("page alone", "question alone"),
}
AVERAGE = "average of parts"


@dataclass(frozen=True, slots=True)
class System:
    """A line of the table: `vectors` gives a set's queries and its gallery, `[rows, dim]` each."""

    name: str
    vectors: Callable[[RetrievalSet], tuple[Vectors, Vectors]]


def whole(name: str, embed: Embed) -> System:
    """Every query as one vector of all its parts."""
    return System(name, lambda s: (embed(s.queries, Role.QUERY), embed(s.gallery, Role.DOCUMENT)))


def alone(name: str, embed: Embed, part: int) -> System:
    """Every query as one of its parts."""
    return System(name, lambda s: (_part(embed, s, part), embed(s.gallery, Role.DOCUMENT)))


def averaged(embed: Embed) -> System:
    """Every query as the mean of its parts' vectors: what one has without fusion."""

    def vectors(s: RetrievalSet) -> tuple[Vectors, Vectors]:
        parts = [_part(embed, s, part) for part in range(len(s.queries[0]))]
        return np.mean(parts, axis=0, dtype=np.float32), embed(s.gallery, Role.DOCUMENT)

    return System(AVERAGE, vectors)


def _part(embed: Embed, task: RetrievalSet, part: int) -> Vectors:
    vectors = embed([(query[part],) for query in task.queries], Role.QUERY)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


class Remembered:
    """An embedder that embeds no item twice."""

    def __init__(self, embed: Embed) -> None:
        self._embed = embed
        self._known: dict[tuple[Item, str], Vectors] = {}

    def __call__(self, items: Sequence[Item], role: str) -> Vectors:
        """As the embedder."""
        fresh = [item for item in dict.fromkeys(items) if (item, role) not in self._known]
        if fresh:
            self._known.update(zip([(item, role) for item in fresh], self._embed(fresh, role), strict=True))
        return np.stack([self._known[item, role] for item in items])


class Systems:
    """The systems of each set; whatever is heavy is loaded or fitted when a set first needs it."""

    def __init__(self, spec: ModelSpec, data: Path, threads: int | None = None) -> None:
        self.spec, self.data, self.threads = spec, data, threads

    def of(self, task: RetrievalSet, baselines: bool = True) -> list[System]:
        """The model first, then what it is compared with; without baselines only what the model alone gives."""
        lines = [whole(self.spec.card.model_id, self.model)]
        if task.kind is Kind.COMPOSED:
            lines += [alone(name, self.model, part) for part, name in enumerate(PARTS[task.name])]
            lines.append(averaged(self.model))
        if baselines:
            lines += self._baselines(task.kind)
        return lines

    def _baselines(self, kind: Kind) -> list[System]:
        name = {Kind.TEXT: "MiniLM", Kind.SPEECH: "ASR cascade"}.get(kind, "late fusion")
        lines = [] if self.spec.card.model_id == BASELINE_MODEL else [whole(name, self.composed)]
        if kind is Kind.PICTURE:
            lines.append(whole("frozen + MLP", self.pictures.by_mlp))
            lines.append(whole("kNN transfer", self.pictures.by_neighbours))
        if kind is Kind.SPEECH and FrozenSpeech.ready(self.data):
            lines.append(whole("frozen + MLP", self.speech.by_mlp))
        return lines

    @cached_property
    def model(self) -> Remembered:
        """The evaluated model."""
        return Remembered(SpecEmbedder(self.spec, threads=self.threads).embed)

    @cached_property
    def composed(self) -> Remembered:
        """MiniLM on text, pictures projected into its space, transcripts of sound."""
        return Remembered(SpecEmbedder(resolve(BASELINE_MODEL), threads=self.threads).embed)

    @cached_property
    def pictures(self) -> FrozenPictures:
        """What can be learned on the frozen image tower's features."""
        return FrozenPictures(self.data)

    @cached_property
    def speech(self) -> FrozenSpeech:
        """What can be learned on the frozen hearing tower's features."""
        return FrozenSpeech(self.data)
