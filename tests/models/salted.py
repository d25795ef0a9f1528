"""Another weightless model: other vectors and other widths than the hashed one makes of the same input."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.model.contract import Inputs
from operators.model.source import ModelSource
from operators.parts import Part
from schemas.card import ModelCard
from tests.models.hashed import HashEngine, HashSpec, features

DIM = 48


class SaltedEngine(HashEngine):
    """Sums a random vector for each feature; the salt decides which."""

    def __init__(self, salt: str) -> None:
        self.salt = salt

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        return np.stack([self._salted(parts) for parts in inputs])

    def _salted(self, parts: tuple[Part, ...]) -> npt.NDArray[np.float32]:
        vector = np.full(DIM, 1e-3, np.float32)
        for part in parts:
            for feature in features(part):
                seed = int.from_bytes(hashlib.sha256(f"{self.salt} {feature}".encode()).digest()[:8])
                vector += np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
        return vector


@dataclass(frozen=True)
class SaltedSpec(HashSpec):
    """The spec; `salt` makes another model of it."""

    @classmethod
    def read(cls, source: ModelSource, widths: Sequence[int] = ()) -> SaltedSpec:
        """As the registry calls it; the folder's name is the salt."""
        return cls(salt=source.model_id)

    @property
    def card(self) -> ModelCard:
        digest = hashlib.sha256(f"salted {self.salt}".encode()).hexdigest()
        update = {"weights_digest": digest, "family": "salted", "widths": (DIM, 24)}
        return super().card.model_copy(update=update)

    def load(
        self, device: str | None = None, threads: int | None = None, *, exact: bool = False
    ) -> SaltedEngine:
        return SaltedEngine(self.salt)
