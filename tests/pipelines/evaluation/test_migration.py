"""The benchmark of a migration measures what it says: each way ranks by what it may know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from operators.model.registry import BASELINE_MODEL, resolve
from pipelines.evaluation.migration import FULL, FUSION, MERGED, NEW_HALF, OLD, migrate, ways
from tests.pipelines.evaluation.tiny_data import write


def scores(seed: int, shift: float, scale: float) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).normal(shift, scale, (7, 90)), np.float32)


def test_what_has_moved_is_ranked_by_the_new_model_alone_and_the_rest_by_the_old_one() -> None:
    before, after = scores(0, 0.1, 0.05), scores(1, 0.5, 0.2)
    moved = np.arange(90) % 2 == 0
    sample = np.flatnonzero(moved)
    found = ways(before, after, moved, sample, rerank=(45,))
    for way in (MERGED, NEW_HALF):
        np.testing.assert_array_equal(found[way][:, moved], after[:, moved])
    np.testing.assert_array_equal(
        np.argsort(found[MERGED][:, ~moved], axis=1), np.argsort(before[:, ~moved], axis=1)
    )
    assert found[MERGED][:, ~moved].mean() == pytest.approx(0.5, abs=0.1), "on the new model's scale"
    np.testing.assert_array_equal(found[f"{MERGED}, 45 embedded again"], found[FULL])
    np.testing.assert_allclose(np.sort(found[FUSION][:, moved]), np.sort(found[FUSION][:, ~moved]))
    changed = ways(before, np.where(moved, after, 9.0), moved, sample)
    for way in (MERGED, FUSION, OLD):
        np.testing.assert_array_equal(changed[way], found[way], f"{way} must not see what has not moved")


def test_a_model_that_moves_to_itself_loses_nothing(tmp_path: Path) -> None:
    spec = resolve(BASELINE_MODEL)
    report = migrate(spec, spec, write(tmp_path), ["wordnet"], seeds=(0,), rerank=(), threads=1)
    assert report.kept[OLD] == 1
    assert report.kept[MERGED] == pytest.approx(1, abs=0.02)
    assert report.kept[NEW_HALF] < 0.8
    assert report == migrate(spec, spec, tmp_path, ["wordnet"], seeds=(0,), rerank=(), threads=1), "seeded"
