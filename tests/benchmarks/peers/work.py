"""What every way does to a file, and the clock that each model carries: the same in all of them."""

from __future__ import annotations

import io
import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from operators.decode.registry import decode
from operators.model.composed import ingredients
from operators.model.contract import Engine, Inputs, ModelSpec, Preparer
from operators.model.registry import FUSED_MODEL, resolve
from operators.part_columns import from_arrow, to_arrow
from schemas.card import ModelCard, Role
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe
from schemas.tables import PART

BATCH = 32
"""Rows that peers give the model at once; the model makes batches of like length out of them itself."""
SEGMENT = pa.struct([pa.field("ordinal", pa.int32()), pa.field("parts", pa.list_(PART))])


def model_of(workload: str) -> str:
    """The model's name: a sentence-transformers folder for documents, which are text alone, else the shipped one."""
    return str(ingredients.TEXT.path().parent) if workload == "documents" else FUSED_MODEL


@dataclass(frozen=True, slots=True)
class Clocked:
    """A `ModelSpec` whose engine writes down each call: seconds of the machine's clock at both ends, and rows.

    That it is loaded is a call without rows.
    """

    spec: ModelSpec
    log: str

    @property
    def card(self) -> ModelCard:
        return self.spec.card

    @property
    def concurrent(self) -> bool:
        return self.spec.concurrent

    def preparer(self, role: str) -> Preparer:
        return self.spec.preparer(role)

    def load(self, device: str | None = None, threads: int | None = None, *, exact: bool = False) -> Engine:
        engine = ClockedEngine(self.spec.load(device, threads, exact=exact), self.log)
        note(self.log, time.monotonic(), 0)
        return engine


@dataclass(frozen=True, slots=True)
class ClockedEngine:
    engine: Engine
    log: str

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        started = time.monotonic()
        vectors = self.engine.embed(inputs)
        note(self.log, started, len(inputs))
        return vectors


def note(log: str, started: float, rows: int) -> None:
    """One call of a model has ended."""
    line = f"{started} {time.monotonic()} {rows}\n".encode()
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def calls(log: Path) -> list[tuple[float, float, int]]:
    """What was written down so far."""
    if not log.exists():
        return []
    lines = (line.split() for line in log.read_text().splitlines())
    return [(float(start), float(end), int(rows)) for start, end, rows in lines]


def steady(found: list[tuple[float, float, int]]) -> tuple[float, float]:
    """When every copy of the model was loaded and at work, and the rows that it made since then.

    Of a call that was under way by then, the share of the rows that was left of its time. Where less than half of the
    rows are left by then: when the first of them was given.
    """
    first = min(start for start, _, rows in found if rows)
    since = max([first, *(end for _, end, rows in found if not rows)])
    left = sum(
        rows * (end - max(start, since)) / (end - start) for start, end, rows in found if rows and end > since
    )
    all_rows = sum(rows for _, _, rows in found)
    return (since, left) if 2 * left >= all_rows else (first, all_rows)


@dataclass(frozen=True)
class Work:
    """A corpus, a model, and the per-row work that ways with the same work share."""

    workload: str
    corpus: str
    out: str
    log: str
    recipe: Recipe = field(default_factory=Recipe)

    @cached_property
    def spec(self) -> Clocked:
        return Clocked(resolve(model_of(self.workload)), self.log)

    @cached_property
    def _preparer(self) -> Preparer:
        return self.spec.preparer(Role.DOCUMENT)

    def segments(self, name: str, data: bytes) -> pa.Array:
        """A file's model-ready segments, as `SEGMENT`: the decoders and the preparation of the product."""
        _, found = decode(io.BytesIO(data), name, self.recipe, self.spec.card, self._preparer.counter, refuse)
        inputs, _ = self._preparer.prepare([segment.parts for segment in found])
        return pa.StructArray.from_arrays(
            [pa.array(range(len(inputs)), pa.int32()), to_arrow(inputs)], fields=list(SEGMENT)
        )


def own_cluster() -> None:
    """A Ray of the way's own: without an address it would wait for whichever cluster ran here last, be that dead."""
    import ray

    ray.init("local", include_dashboard=False, log_to_driver=False)


def refuse(reference: str) -> Any:
    """None of these files refers to others."""
    raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, reference)


class Embedder:
    """The model as peers hold it: loaded once, called with a batch of `list<PART>`."""

    def __init__(self, spec: Clocked, threads: int | None = None) -> None:
        self.engine = spec.load(threads=threads)

    def vectors(self, parts: pa.Array | pa.ChunkedArray) -> pa.FixedSizeListArray:
        """Unit vectors of a batch."""
        found = self.engine.embed(from_arrow(parts))
        unit = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return pa.FixedSizeListArray.from_arrays(
            pa.array(unit.astype(np.float32).reshape(-1), pa.float32()), unit.shape[1]
        )
