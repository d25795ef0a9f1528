"""A calibration carries scores to another scale in their order, and beyond what it was fitted on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.calibration import LEAST, Calibration


def scores(seed: int, rows: int, scale: float = 1.0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).gumbel(shift, scale, rows)


@given(seed=st.integers(0, 99), rows=st.integers(LEAST, 400), scale=st.floats(1e-3, 1e3))
def test_the_order_stays_and_better_scores_than_any_of_the_sample_stay_better(
    seed: int, rows: int, scale: float
) -> None:
    fitted = Calibration.fit(scores(seed, rows), scores(seed + 1, rows, scale))
    asked = np.linspace(-9, 30, 400)
    mapped = fitted(asked)
    assert (np.diff(mapped) >= 0).all()
    beyond = mapped[asked > scores(seed, rows).max()]
    assert (np.diff(beyond) > 0).all(), "a step function would be flat where search looks"


def test_scores_of_one_shape_are_carried_by_the_line_between_their_scales() -> None:
    old = scores(0, 500, 0.05, 0.1)
    fitted = Calibration.fit(old, 0.3 + 2 * old)
    np.testing.assert_allclose(
        fitted(np.linspace(-0.2, 1, 50)), 0.3 + 2 * np.linspace(-0.2, 1, 50), atol=1e-9
    )


def test_a_score_is_as_rare_after_as_before() -> None:
    old, new = scores(1, 4000, 0.04), scores(2, 4000, 0.2, 0.4)
    fitted = Calibration.fit(old[:500], new[:500])
    for share in (0.5, 0.9, 0.99, 0.999):
        rare = (new > fitted([np.quantile(old, share)])[0]).mean()
        assert (1 - share) / 2.5 < rare < (1 - share) * 2.5, "the last of them beyond the sample"


def test_too_little_to_fit_on_is_said() -> None:
    for old, new in ((scores(0, LEAST - 1), scores(0, 99)), (np.ones(99), scores(0, 99))):
        with pytest.raises(ValueError, match="nothing to fit a map on"):
            Calibration.fit(old, new)
