"""What stands in the table: the model, late fusion of its towers, an ASR cascade, and frozen features."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

import operators
from operators.model.composed.ingredients import CLASSIFIER
from operators.model.fused.efficientnet import load_tower
from operators.model.fused.spec import FAMILY as FUSED
from operators.model.registry import BASELINE_MODEL, resolve
from pipelines.evaluation.frozen import VERSION, FrozenPictures, FrozenSpeech
from pipelines.evaluation.items import Item, Sound, SpecEmbedder, Vectors
from pipelines.evaluation.sets import Kind, RetrievalSet
from schemas.card import Role

if TYPE_CHECKING:
    from operators.model.contract import ModelSpec
    from operators.model.fused.engine import FusedEngine, See
    from pipelines.evaluation.late import Map

Embed = Callable[[Sequence[Item], str], Vectors]

PARTS = {
    "picture+words": ("picture alone", "words alone"),
    "speech+words": ("speech alone", "words alone"),
    "page+question": ("page alone", "question alone"),
}
AVERAGE = "average of parts"
LATE = "late fusion"
"""CLIP's way: frozen encoders, a linear projection of each, trained by contrast on the model's own pictures."""
UNFUSED = "parts without the trunk"
"""The vectors that the fused model's own concepts and MiniLM give, added: what its trunk makes of them is not in it."""


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
    """An embedder that embeds nothing twice: within a run item by item, across runs call by call.

    Vectors are kept in `folder` under a digest of the model, the code that runs it, the items and their role; a file
    that changed is another item. Deleting the folder costs time, nothing else.
    """

    def __init__(self, embed: Embed, folder: Path, model: str) -> None:
        self._embed, self._folder, self._model = embed, folder, model
        self._known: dict[tuple[Item, str], Vectors] = {}

    def __call__(self, items: Sequence[Item], role: str) -> Vectors:
        """As the embedder."""
        fresh = [item for item in dict.fromkeys(items) if (item, role) not in self._known]
        if fresh:
            self._known.update(zip([(item, role) for item in fresh], self._kept(fresh, role), strict=True))
        return np.stack([self._known[item, role] for item in items])

    def _kept(self, items: Sequence[Item], role: str) -> Vectors:
        path = self._folder / f"{digest_of(self._model, role, items)}.npy"
        if path.exists():
            return np.asarray(np.load(path), np.float32)
        vectors = self._embed(items, role)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            np.save(file, vectors)
        partial.rename(path)
        return vectors


class SeenOnce:
    """A vision tower that sees no picture twice: several systems stand on it."""

    def __init__(self, see: See) -> None:
        self._see = see
        self._known: dict[bytes, torch.Tensor] = {}

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """As the tower: uint8 `[pictures, side, side, 3]` to features `[pictures, width]`."""
        keys = [hashlib.sha256(picture.tobytes()).digest() for picture in pixels.cpu().numpy()]
        fresh = {key: row for row, key in enumerate(keys) if key not in self._known}
        if fresh:
            self._known.update(zip(fresh, self._see(pixels[list(fresh.values())]), strict=True))
        return torch.stack([self._known[key] for key in keys])


def digest_of(model: str, role: str, items: Sequence[Item]) -> str:
    """A sha256 over what decides the items' vectors; files count by path, size and time of change."""
    found = hashlib.sha256(f"{_code()}\n{model}\n{role}".encode())
    for item in items:
        for medium in item:
            found.update(b"\0")
            if isinstance(medium, Sound):
                found.update(medium.samples.tobytes())
                continue
            found.update(repr(medium).encode())
            if not isinstance(medium, str):
                stat = medium.path.stat()
                found.update(f"{stat.st_size} {stat.st_mtime_ns}".encode())
        found.update(b"\1")
    return found.hexdigest()


@cache
def _code() -> str:
    """A sha256 over what decodes and embeds: an engine that was changed is measured anew."""
    folder = Path(operators.__file__).parent
    found = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        found.update(file.read_bytes())
    return found.hexdigest()


class Systems:
    """The systems of each set; whatever is heavy is loaded or fitted when something has to be embedded by it."""

    def __init__(self, spec: ModelSpec, data: Path, threads: int | None = None) -> None:
        self.spec, self.data, self.threads = spec, data, threads
        self._baseline = resolve(BASELINE_MODEL)
        card = spec.card.model_dump_json()
        self.model = self._remembered(lambda i, r: self._model.embed(i, r), card)
        # Separate encoders get a query's parts as a document's: none of them woven into another.
        self.late = self._remembered(lambda i, _: self._late.embed(i), f"late {VERSION} {card}")
        self.unfused = self._remembered(lambda i, _: self._unfused.embed(i), f"unfused {VERSION} {card}")
        baseline = self._baseline.card.model_dump_json()
        self.composed = self._remembered(lambda i, r: self._composed.embed(i, r), baseline)

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
        lines: list[System] = []
        if self.spec.card.family == FUSED and kind in (Kind.PICTURE, Kind.COMPOSED):
            lines += [whole(LATE, self.late), whole(UNFUSED, self.unfused)]
        if self.spec.card.model_id != BASELINE_MODEL:
            name = {Kind.TEXT: "MiniLM", Kind.SPEECH: "ASR cascade"}.get(kind, BASELINE_MODEL)
            lines.append(whole(name, self.composed))
        if kind is Kind.PICTURE:
            lines.append(self._frozen("frozen + MLP", lambda i, _: self._pictures.by_mlp(i)))
            lines.append(self._frozen("kNN transfer", lambda i, _: self._pictures.by_neighbours(i)))
        if kind is Kind.SPEECH and FrozenSpeech.ready(self.data):
            lines.append(self._frozen("frozen + MLP", lambda i, _: self._speech.by_mlp(i)))
        return lines

    def _frozen(self, name: str, embed: Embed) -> System:
        return whole(name, self._remembered(embed, f"{name} {VERSION}"))

    def _remembered(self, embed: Embed, model: str) -> Remembered:
        return Remembered(embed, self.data / "vectors", model)

    @cached_property
    def _model(self) -> SpecEmbedder:
        if self.spec.card.family != FUSED:
            return SpecEmbedder(self.spec, threads=self.threads)
        return SpecEmbedder(self.spec, engine=self._fused)

    @cached_property
    def _late(self) -> SpecEmbedder:
        see, say = self._pictures.projections
        return self._added(see, say)

    @cached_property
    def _unfused(self) -> SpecEmbedder:
        concepts = self._fused.network.vision.concepts

        def see(features: Vectors) -> Vectors:
            with torch.inference_mode():
                found: torch.Tensor = concepts(torch.from_numpy(features).to(self._fused.device))
            return np.asarray(found.float().cpu().numpy(), np.float32)

        return self._added(see, lambda vectors: vectors)

    def _added(self, see: Map, say: Map) -> SpecEmbedder:
        from pipelines.evaluation.late import LateFusion

        return SpecEmbedder(self.spec, engine=LateFusion(self._fused, see, say))

    @cached_property
    def _fused(self) -> FusedEngine:
        from operators.model.fused.engine import FusedEngine

        engine = self.spec.load(None, self.threads, exact=True)
        if not isinstance(engine, FusedEngine):
            raise TypeError(f"late fusion needs the towers of a fused engine, not {type(engine).__name__}")
        return replace(engine, vision=SeenOnce(engine.vision))

    @cached_property
    def _composed(self) -> SpecEmbedder:
        return SpecEmbedder(self._baseline, threads=self.threads)

    @cached_property
    def _pictures(self) -> FrozenPictures:
        see = (
            self._fused.vision
            if self.spec.card.family == FUSED
            else SeenOnce(load_tower(CLASSIFIER.verified()))
        )
        return FrozenPictures(self.data, see)

    @cached_property
    def _speech(self) -> FrozenSpeech:
        return FrozenSpeech(self.data)
