"""The weightless model with the pace of a large one, so that a run can be killed in its middle."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from operators.model.contract import Inputs
from tests.models.hashed import HashEngine, HashSpec

SECONDS_PER_INPUT = 0.2


class SlowEngine(HashEngine):
    """Same vectors, later."""

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        time.sleep(SECONDS_PER_INPUT * len(inputs))
        return super().embed(inputs)


@dataclass(frozen=True)
class SlowSpec(HashSpec):
    """Makes the same space as `HashSpec`."""

    def load(
        self, device: str | None = None, threads: int | None = None, *, exact: bool = False
    ) -> SlowEngine:
        return SlowEngine()
