"""A hard negative is near, is not the answer, and is not what may be an answer too."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.negatives import mine_hard_negatives


def unit(rows: list[list[float]]) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rows), dim=1)


def test_a_near_duplicate_of_the_answer_is_passed_over() -> None:
    documents = unit([[1.0, 0.1], [1.0, 0.12], [1.0, 0.8], [-1.0, 0.0]])
    assert mine_hard_negatives(unit([[1.0, 0.0]]), documents, [0]) == [2]
    assert mine_hard_negatives(unit([[1.0, 0.0]]), documents, [0], skip=1) == [3]


def test_a_query_without_a_low_enough_document_has_no_negative() -> None:
    documents = unit([[1.0, 0.2], [1.0, 0.0]])
    assert mine_hard_negatives(unit([[1.0, 0.0]]), documents, [0]) == [None]
    assert mine_hard_negatives(unit([[1.0, 0.0]]), unit([[-1.0, 0.1], [0.0, 1.0]]), [0]) == [None]


@given(seed=st.integers(0, 1_000), margin=st.floats(0.5, 1.0))
def test_no_negative_reaches_the_margin_and_none_nearer_was_allowed(seed: int, margin: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    queries, documents = (
        torch.nn.functional.normalize(torch.randn(n, 4, generator=generator), dim=1) for n in (5, 9)
    )
    relevant = [i % 9 for i in range(5)]
    for row, negative in enumerate(mine_hard_negatives(queries, documents, relevant, margin=margin)):
        scores = queries[row] @ documents.T
        allowed = [j for j in range(9) if j != relevant[row] and scores[j] < margin * scores[relevant[row]]]
        if scores[relevant[row]] <= 0 or not allowed:
            assert negative is None
        else:
            assert negative == max(allowed, key=lambda j: float(scores[j]))
