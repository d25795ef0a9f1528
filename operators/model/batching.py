"""Micro-batches under a token budget: rows of 10 and of 8,000 tokens are not padded to each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

T = TypeVar("T")


def micro_batches(
    tokens: Sequence[int], budget: int, max_rows: int | None = None, waste: float = 1.0
) -> list[list[int]]:
    """Split rows into batches whose padded size, longest row x rows, stays within a budget.

    Longest rows first, so that a batch which does not fit the device fails at the start; ties keep the
    caller's order. A row longer than the budget is a batch of its own.

    Args:
        tokens: the length of each row.
        budget: most tokens of one padded batch.
        max_rows: most rows of one batch.
        waste: how much shorter than the longest row of its batch a row may be, as a share of it.

    Returns:
        Row indices by batch; every row is in exactly one.

    Raises:
        ValueError: the budget is below 1.
    """
    batches: list[list[int]] = []
    room = 0
    for row in longest_first(tokens, budget):
        if not room or tokens[row] < (1 - waste) * tokens[batches[-1][0]]:
            room = max(1, budget // max(1, tokens[row]))
            room = min(room, max_rows or room)
            batches.append([])
        batches[-1].append(row)
        room -= 1
    return batches


def longest_first(lengths: Sequence[int], budget: int) -> list[int]:
    """Rows by falling length, to be split under a budget; ties keep the caller's order.

    Raises:
        ValueError: the budget is below 1.
    """
    if budget < 1:
        raise ValueError(f"a token budget is at least 1, got {budget}")
    return sorted(range(len(lengths)), key=lambda row: -lengths[row])


def embed_in_batches(
    embed: Callable[[list[T]], npt.NDArray[np.float32]],
    rows: Sequence[T],
    tokens: Sequence[int],
    budget: int,
    max_rows: int | None = None,
) -> npt.NDArray[np.float32]:
    """Call `embed` on micro-batches of the rows and put the vectors back in the caller's order.

    Args:
        embed: rows to float32 `[rows, dim]`.
        rows: at least one input.
        tokens: the length of each row.
        budget: most tokens of one padded batch.
        max_rows: most rows of one batch.

    Returns:
        float32 `[rows, dim]`.
    """
    batches = micro_batches(tokens, budget, max_rows)
    vectors = np.concatenate([embed([rows[i] for i in batch]) for batch in batches])
    restored = np.empty_like(vectors)
    restored[np.concatenate([np.asarray(b) for b in batches])] = vectors
    return restored


def pad(
    rows: Sequence[npt.NDArray[np.int32]], pad_id: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Token ids padded on the right, and their attention mask: both int64 `[rows, longest]`."""
    lengths = np.asarray([len(row) for row in rows])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    ids = np.full(mask.shape, pad_id, np.int64)
    ids[mask] = np.concatenate(rows)
    return ids, mask.astype(np.int64)
