"""The weightless model that takes its time and writes down every input that it was given."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from operators.model.contract import Inputs
from operators.parts import Part
from tests.models.hashed import HashEngine, HashSpec


@dataclass(frozen=True)
class CountingSpec(HashSpec):
    """Makes the same space as `HashSpec`; `ledger` is a file of one digest a line."""

    ledger: str = ""
    seconds: float = 0.0

    def load(
        self, device: str | None = None, threads: int | None = None, *, exact: bool = False
    ) -> CountingEngine:
        return CountingEngine(self.ledger, self.seconds)


class CountingEngine(HashEngine):
    """Same vectors, later, with a line for each."""

    def __init__(self, ledger: str, seconds: float) -> None:
        self.ledger, self.seconds = ledger, seconds

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        # Written first: what is killed in the middle of its work has cost that work.
        lines = "".join(f"{_digest(parts)}\n" for parts in inputs)
        handle = os.open(self.ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, lines.encode())
        os.close(handle)
        time.sleep(self.seconds * len(inputs))
        return super().embed(inputs)


def embedded(ledger: Path) -> int:
    """How many inputs went through the model, in all attempts."""
    return len(ledger.read_text().splitlines()) if ledger.exists() else 0


def _digest(parts: tuple[Part, ...]) -> str:
    state = hashlib.sha256()
    for part in parts:
        state.update(f"{part.kind} {part.at_ms} {part.text}".encode())
        state.update(b"" if part.data is None else part.array.tobytes())
    return state.hexdigest()
