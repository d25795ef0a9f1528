"""The losses against their formula, and GradCache against the plain gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from pipelines.training.losses import Batch, cached_backward, distill, matryoshka, nce


def batch(**ids: list[int]) -> Batch:
    torch.manual_seed(0)
    size, dim = 6, 8
    own = torch.arange(size)
    return Batch(
        queries=torch.randn(size, dim),
        positives=torch.randn(size, dim),
        query_ids=torch.tensor(ids["queries"]) if "queries" in ids else own,
        positive_ids=torch.tensor(ids["positives"]) if "positives" in ids else own,
    )


def by_hand(b: Batch, temperature: float) -> float:
    """The paper's sum, term by term."""
    total = 0.0
    size = len(b.queries)
    for i in range(size):

        def s(other: torch.Tensor, i: int = i) -> float:
            return math.exp(float(torch.cosine_similarity(b.queries[i], other, dim=0)) / temperature)

        below = sum(
            s(b.positives[j])
            for j in range(size)
            if j == i or (b.query_ids[i] != b.query_ids[j] and b.positive_ids[i] != b.positive_ids[j])
        )
        if b.negatives is not None:
            below += s(b.negatives[i])
        total -= math.log(s(b.positives[i]) / below)
    return total / size


@pytest.mark.parametrize("ids", [{}, {"queries": [0, 0, 1, 2, 3, 3]}, {"positives": [0, 1, 1, 1, 2, 3]}])
def test_nce_is_the_papers_sum(ids: dict[str, list[int]]) -> None:
    b = batch(**ids)
    assert float(nce(b, 0.1)) == pytest.approx(by_hand(b, 0.1), rel=1e-4)


def test_hard_negatives_enter_the_denominator() -> None:
    plain = batch()
    hard = Batch(
        queries=plain.queries,
        positives=plain.positives,
        query_ids=plain.query_ids,
        positive_ids=plain.positive_ids,
        negatives=plain.queries + 0.1,
    )
    assert float(nce(hard, 0.1)) == pytest.approx(by_hand(hard, 0.1), rel=1e-4)
    assert nce(hard, 0.1) > nce(plain, 0.1)


def test_a_batch_of_one_query_costs_nothing_because_the_positive_stays() -> None:
    assert float(nce(batch(queries=[7] * 6), 0.1)) == pytest.approx(0.0, abs=1e-6)


def test_matryoshka_is_the_mean_over_widths() -> None:
    b = batch()
    expected = (nce(b, 0.1) + nce(b.cut(4), 0.1) + nce(b.cut(2), 0.1)) / 3
    assert float(matryoshka(b, 0.1, (8, 4, 2))) == pytest.approx(float(expected), rel=1e-5)


def test_distillation_is_blind_to_length() -> None:
    x = torch.randn(4, 8)
    assert float(distill(3 * x, x)) == pytest.approx(0.0, abs=1e-6)
    assert float(distill(-x, x)) == pytest.approx(2.0, abs=1e-5)


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Dropout(0.3), nn.Linear(16, 8))


def loss_of(vectors: torch.Tensor) -> torch.Tensor:
    half = len(vectors) // 2
    ids = torch.arange(half)
    whole = Batch(queries=vectors[:half], positives=vectors[half:], query_ids=ids, positive_ids=ids)
    return matryoshka(whole, 0.1, (8, 4))


@pytest.mark.parametrize("size", [4, 5, 12])
def test_cached_gradients_equal_the_whole_batch(size: int) -> None:
    inputs = torch.randn(12, 5)
    model = network().eval()
    loss_of(model(inputs)).backward()  # type: ignore[no-untyped-call]
    plain = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    value = cached_backward(lambda c: model(torch.stack(list(c))), list(inputs), size, loss_of)
    assert value == pytest.approx(loss_of(model(inputs)).item(), rel=1e-5)
    for expected, parameter in zip(plain, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)


def test_cached_gradients_replay_dropout() -> None:
    inputs = torch.randn(12, 5)
    model = network().train()
    torch.manual_seed(5)
    loss_of(torch.cat([model(chunk) for chunk in inputs.split(4)])).backward()  # type: ignore[no-untyped-call]
    plain = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    model.zero_grad()
    torch.manual_seed(5)
    cached_backward(lambda c: model(torch.stack(list(c))), list(inputs), 4, loss_of)
    for expected, parameter in zip(plain, model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-4, atol=1e-6)
