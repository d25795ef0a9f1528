"""Embed prepared segments: token-budgeted batches through the engine, every width cut and renormalised."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from operators.model.batching import micro_batches
from operators.model.contract import Engine
from operators.model.threads import SharedThreads
from operators.part_columns import from_arrow
from operators.parts import Part
from schemas.errors import ErrorCode, ModelError, Stage, described
from schemas.space import Space
from schemas.tables import QUARANTINED, SEGMENT_KIND

_MIN_NORM = 1e-12
_BATCHES_A_PASS, _LEAST_ROWS = 4, 16
"""So many batches let passes that run side by side end together; of fewer rows each row costs more."""

Reason = tuple[ErrorCode, str]
Tried = tuple[list[int], npt.NDArray[np.float32] | Reason]
"""Rows, and their vectors; or one row, and why it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedSegments:
    """`PREPARED` rows in; the same rows without media, with a vector of each width, out.

    Asset rows pass through with null vectors. A batch that the model fails on is bisected down to the row:
    one segment that cannot be embedded costs itself, and carries the reason. Whoever calls it at the same time, the
    model makes so many `passes` at once, each in a thread of its own; with `threads` they share those of a CPU.
    """

    engine: Engine
    space: Space
    token_budget: int
    passes: int = 1
    threads: SharedThreads | None = None
    _pool: Executor = field(init=False, repr=False, compare=False)
    _given: list[Future[list[Tried]]] = field(init=False, repr=False, compare=False, default_factory=list)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_pool", ThreadPoolExecutor(self.passes))

    def __call__(self, rows: pa.Table) -> pa.Table:
        """One block of prepared rows."""
        is_segment = pc.equal(rows["kind"], SEGMENT_KIND).to_numpy(zero_copy_only=False)
        index = np.flatnonzero(is_segment)
        # Rows are picked as views: what `take` gives is a copy of their media.
        inputs = from_arrow(rows["parts"])
        inputs, tokens = [inputs[i] for i in index], rows["tokens"].take(pa.array(index)).to_numpy()
        vectors, reasons = self.vectors(inputs, tokens)
        good = np.zeros(rows.num_rows, bool)
        good[index] = [reason is None for reason in reasons]
        full = np.zeros((rows.num_rows, self.space.card.dim), np.float32)
        full[index] = vectors
        out = rows.drop_columns(["parts"])
        if any(reasons):
            out = _mark(out, {int(i): r for i, r in zip(index, reasons, strict=True) if r})
        for named, column in zip(self.space.vector_fields, widths(full, self.space, good), strict=True):
            out = out.append_column(named, column)
        return out

    def vectors(
        self, inputs: Sequence[tuple[Part, ...]], tokens: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.float32], list[Reason | None]]:
        """Full-width vectors, and for each input None or why it has none.

        Returns:
            float32 `[inputs, dim]` with zeros where there is a reason, and the reasons.

        Raises:
            ModelError: what of the model was left on disk cannot be read.
        """
        vectors = np.zeros((len(inputs), self.space.card.dim), np.float32)
        reasons: list[Reason | None] = [None] * len(inputs)
        batches = micro_batches(tokens.tolist(), self.token_budget, self._share(len(inputs)))
        tried = [self._pool.submit(self._tried, inputs, batch) for batch in batches]
        self._given[:] = [one for one in self._given if not one.done()] + tried
        for rows, found in chain.from_iterable(one.result() for one in tried):
            if isinstance(found, tuple):
                reasons[rows[0]] = found
                continue
            norms = np.min([np.linalg.norm(found[:, :w], axis=1) for w in self.space.widths], axis=0)
            bad = ~np.isfinite(norms) | (norms < _MIN_NORM)
            for row, norm in zip(np.array(rows)[bad], norms[bad], strict=True):
                reasons[int(row)] = (ErrorCode.NOT_FINITE, f"the model returned a vector of norm {norm}")
            vectors[rows] = np.where(bad[:, None], 0.0, found)
        return vectors, reasons

    def _share(self, rows: int) -> int | None:
        """Most rows of a batch, so that every pass without work gets some: what waits has enough for the others."""
        if self.passes == 1:
            return None
        idle = max(1, self.passes - sum(not one.done() for one in tuple(self._given)))
        each = -(-rows // idle)
        return -(-each // max(1, min(_BATCHES_A_PASS, each // _LEAST_ROWS)))

    def _tried(self, inputs: Sequence[tuple[Part, ...]], batch: list[int]) -> list[Tried]:
        """The batch's vectors, of its halves when the model fails on it, or why a single row has none."""
        found: list[Tried] = []
        todo = [batch]
        while todo:
            rows = todo.pop()
            try:
                with self.threads or nullcontext():
                    found.append((rows, self.engine.embed([inputs[i] for i in rows])))
            except ModelError:
                raise  # it is the model that is broken, not the rows
            except Exception as error:
                if len(rows) == 1:
                    found.append((rows, (ErrorCode.EMBED_FAILED, described(error))))
                else:
                    middle = len(rows) // 2
                    todo += [rows[:middle], rows[middle:]]
        return found


def widths(full: npt.NDArray[np.float32], space: Space, valid: npt.NDArray[np.bool_]) -> list[pa.Array]:
    """A `FixedSizeList` column for each width of the space: prefixes of the full vectors, each a unit vector.

    Args:
        full: float32 `[rows, dim]`.
        space: decides the widths and the value type.
        valid: bool `[rows]`; other rows are null.
    """
    return [prefix(full, field.type, valid) for field in space.vector_fields]


def prefix(
    full: npt.NDArray[np.float32], kind: pa.FixedSizeListType, valid: npt.NDArray[np.bool_]
) -> pa.FixedSizeListArray:
    """The first values of full vectors as unit vectors: a column of type `kind`; rows that are not valid are null."""
    width = kind.list_size
    part = full[:, :width]
    norms = np.linalg.norm(part, axis=1, keepdims=True)
    unit = (part / np.maximum(norms, _MIN_NORM)).astype(kind.value_type.to_pandas_dtype())
    values = pa.array(unit.reshape(-1), kind.value_type)
    return pa.FixedSizeListArray.from_arrays(values, width, mask=pa.array(~valid))


def _mark(rows: pa.Table, reasons: dict[int, Reason]) -> pa.Table:
    marked = {
        "status": dict.fromkeys(reasons, QUARANTINED),
        "error_stage": {i: str(Stage.EMBED) for i in reasons},
        "error_code": {i: str(code) for i, (code, _) in reasons.items()},
        "error_detail": {i: detail for i, (_, detail) in reasons.items()},
    }
    for name, values in marked.items():
        column = rows[name].to_pylist()
        for index, value in values.items():
            column[index] = value
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), [column])
    return rows
