"""The learned projection keeps retrieval in its prefixes and changes nothing at the full width."""

from __future__ import annotations

import torch

from pipelines.training.projection import ProjectionRecipe, learn_projection

_DIM, _NARROW = 16, 4


def _pairs() -> tuple[torch.Tensor, torch.Tensor]:
    """Answers share the last axes with their queries; the first ones are loud and say nothing."""
    generator = torch.Generator().manual_seed(0)
    asked, answers = (torch.randn(200, _DIM, generator=generator) for _ in range(2))
    answers[:, -_NARROW:] = asked[:, -_NARROW:]
    loud = torch.cat([torch.full((_DIM - _NARROW,), 2.0), torch.ones(_NARROW)])
    return asked * loud, answers * loud


def _found(rows: torch.Tensor, width: int) -> float:
    asked, answers = (torch.nn.functional.normalize(x @ rows[:width].T, dim=1) for x in _pairs())
    return float(((asked @ answers.T).argmax(1) == torch.arange(200)).float().mean())


def test_prefixes_keep_what_tells_answers_apart() -> None:
    recipe = ProjectionRecipe(steps=150, batch=128, rate=2e-2, teacher=0.0)
    rows = learn_projection(torch.eye(_DIM), {"text": _pairs()}, (_DIM, _NARROW), recipe)
    assert _found(torch.eye(_DIM), _NARROW) < 0.1
    assert _found(rows, _NARROW) > 0.8
    assert _found(rows, _DIM) == _found(torch.eye(_DIM), _DIM)


def test_rows_stay_orthogonal_and_a_seed_gives_one_result() -> None:
    recipe = ProjectionRecipe(steps=5, batch=64)
    first, again = (
        learn_projection(torch.eye(_DIM), {"text": _pairs()}, (_DIM, _NARROW), recipe) for _ in "ab"
    )
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    torch.testing.assert_close(first @ first.T, torch.eye(_DIM), rtol=0, atol=1e-4)


def test_without_labels_prefixes_keep_the_similarities_of_the_full_width() -> None:
    recipe = ProjectionRecipe(steps=150, batch=128, rate=2e-2)
    start = torch.eye(_DIM).flip(0)
    rows = learn_projection(start, {"text": _pairs()}, (_DIM, _NARROW), recipe)
    assert _likeness_lost(rows) < 0.8 * _likeness_lost(start)


def test_a_width_that_weighs_more_loses_less() -> None:
    widths = (_DIM, 2 * _NARROW, _NARROW)
    even, narrow = (
        learn_projection(
            torch.eye(_DIM).flip(0),
            {"text": _pairs()},
            widths,
            ProjectionRecipe(steps=150, batch=128, rate=2e-2, narrowest=weight),
        )
        for weight in (0.1, 10)
    )
    assert _likeness_lost(narrow) < _likeness_lost(even)


def _likeness_lost(rows: torch.Tensor) -> float:
    """How far the cosines of queries and answers at the narrow width are from those of the full one, on average."""
    asked, answers = _pairs()
    full, cut = (
        torch.cosine_similarity((asked @ r.T)[:, None], (answers @ r.T)[None], dim=2)
        for r in (rows, rows[:_NARROW])
    )
    return float((full - cut).abs().mean())
