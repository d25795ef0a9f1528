"""A model without weights: hashed words, colours and loudness. It makes the pipeline's suites quick, not good."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.model.contract import Inputs
from operators.model.source import ModelSource
from operators.parts import Part, PartKind, token_estimate
from schemas.card import ImageInput, Limits, Modality, ModelCard, TokenCosts

DIM = 32
POISON = "poison"
NOT_FINITE = "infinite"


class WordCounter:
    """Counts words."""

    splits_at_spaces = True

    def offsets(self, text: str) -> npt.NDArray[np.int64]:
        spans = [match.span() for match in re.finditer(r"\S+", text)]
        return np.array(spans, np.int64).reshape(-1, 2)

    def count(self, text: str) -> int:
        return len(self.offsets(text))


class HashPreparer:
    """Leaves the parts as they are and counts their tokens."""

    counter = WordCounter()

    def __init__(self, card: ModelCard) -> None:
        self.card = card

    def prepare(self, inputs: Inputs) -> tuple[list[tuple[Part, ...]], list[int]]:
        words = [sum(len(self.counter.offsets(p.text or "")) for p in parts) for parts in inputs]
        return list(inputs), [n + token_estimate(p, self.card) for n, p in zip(words, inputs, strict=True)]


class HashEngine:
    """Sums a random vector for each word, colour and level. Refuses any batch with the word `poison` in it."""

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        return np.stack([self._one(parts) for parts in inputs])

    def _one(self, parts: tuple[Part, ...]) -> npt.NDArray[np.float32]:
        vector = np.full(DIM, 1e-3, np.float32)
        for part in parts:
            for feature in features(part):
                if feature == POISON:
                    raise RuntimeError("the model choked")
                if feature == NOT_FINITE:
                    vector += np.inf
                seed = int.from_bytes(hashlib.sha256(feature.encode()).digest()[:8])
                vector += np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
        return vector


def features(part: Part) -> list[str]:
    if part.kind is PartKind.TEXT:
        return (part.text or "").lower().split()
    if part.kind is PartKind.AUDIO:
        return [f"level-{int(np.abs(part.array.astype(np.float32)).mean()) // 512}"]
    return [f"colour-{value}" for value in part.array.reshape(-1, 3).mean(axis=0).astype(int) // 32]


@dataclass(frozen=True)
class HashSpec:
    """The spec; `salt` makes another model of it, `modalities` a narrower one."""

    salt: str = "a"
    modalities: tuple[Modality, ...] = tuple(Modality)

    @classmethod
    def read(cls, source: ModelSource, widths: Sequence[int] = ()) -> HashSpec:
        """As the registry calls it; the folder's name is the salt."""
        return cls(salt=source.model_id)

    @property
    def card(self) -> ModelCard:
        return ModelCard(
            model_id=f"tests/{self.salt}",
            weights_digest=hashlib.sha256(self.salt.encode()).hexdigest(),
            family="hashed",
            modalities=self.modalities,
            widths=(DIM, 16, 8),
            image=ImageInput(side=32),
            frame=ImageInput(side=32),
            limits=Limits(tokens=4096, text_tokens=256, audio_ms=5_000, video_ms=8_000, video_frames=8),
            token_costs=TokenCosts(image=16, frame=8, audio_per_second=4),
            preprocessing="1",
        )

    @property
    def concurrent(self) -> bool:
        return True

    def preparer(self, role: str) -> HashPreparer:
        return HashPreparer(self.card)

    def load(
        self, device: str | None = None, threads: int | None = None, *, exact: bool = False
    ) -> HashEngine:
        return HashEngine()
