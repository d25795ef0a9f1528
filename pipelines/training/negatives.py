"""Hard negatives: what a model confuses with the answer, but not what may be an answer too."""

from __future__ import annotations

from collections.abc import Sequence

import torch

_ROWS = 1_024


def mine_hard_negatives(
    queries: torch.Tensor,
    documents: torch.Tensor,
    relevant: Sequence[int],
    *,
    margin: float = 0.95,
    skip: int = 0,
) -> list[int | None]:
    """The nearest document of each query that scores below `margin` times the score of its positive.

    What scores higher may be right as well: positive-aware mining (NV-Retriever's TopK-PercPos; Gemini Embedding).

    Args:
        queries: unit vectors `[queries, dim]`.
        documents: unit vectors `[documents, dim]`.
        relevant: row of each query's positive.
        margin: share of the positive's score.
        skip: so many of the nearest allowed documents are passed over.

    Returns:
        A row of the documents for each query, or None where no document scores so low or the positive's score is
        not above zero.
    """
    found: list[int | None] = []
    for start in range(0, len(queries), _ROWS):
        scores = queries[start : start + _ROWS] @ documents.T
        positives = torch.tensor(relevant[start : start + _ROWS], device=scores.device)
        own = scores.gather(1, positives[:, None])
        allowed = scores.masked_fill(scores >= margin * own, float("-inf")).scatter(
            1, positives[:, None], float("-inf")
        )
        best, rows = allowed.topk(min(skip + 1, allowed.shape[1]), dim=1)
        usable = (best[:, -1] > float("-inf")) & (own[:, 0] > 0)
        picked = zip(rows[:, -1].tolist(), usable.tolist(), strict=True)
        found += [row if ok else None for row, ok in picked]
    return found
