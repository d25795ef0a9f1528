"""The image head generalises what it was fitted to, and survives its small file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from operators.model.composed.heads import DIM, load_heads, save_heads
from pipelines.training.heads import Captions, HeadRecipe, fit_head, rotation_of


def problem(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features and unit targets with one smooth map between them, the same for every seed."""
    shared = np.random.default_rng(0)
    into, out = shared.normal(size=(6, 40)), shared.normal(size=(6, DIM))
    hidden = np.random.default_rng(seed).normal(size=(count, 6))
    targets = hidden @ out
    features = hidden @ into
    return features.astype(np.float32), (targets / np.linalg.norm(targets, axis=1, keepdims=True)).astype(
        np.float32
    )


def test_head_predicts_pictures_that_it_was_not_fitted_to() -> None:
    features, targets = problem(400, 1)
    head = fit_head(features, Captions(targets, [[i] for i in range(400)]), HeadRecipe(reduced=6))
    fresh, expected = problem(50, 2)
    with torch.no_grad():
        cosines = (head(torch.from_numpy(fresh)).numpy() * expected).sum(1)
    assert cosines.mean() > 0.9


def test_small_file_keeps_head_and_rotation(tmp_path: Path) -> None:
    features, targets = problem(200, 1)
    head = fit_head(features, Captions(targets, [[i] for i in range(200)]), HeadRecipe(reduced=6))
    rotation = rotation_of(targets)
    save_heads(tmp_path / "heads.safetensors", head, rotation)
    again, turned = load_heads(tmp_path / "heads.safetensors")
    x = torch.from_numpy(problem(50, 3)[0])
    with torch.no_grad():
        assert torch.cosine_similarity(head(x), again(x)).min() > 0.999
    torch.testing.assert_close(turned @ turned.T, torch.eye(DIM), atol=1e-5, rtol=0)


def test_rotation_puts_what_varies_first() -> None:
    texts = problem(300, 1)[1]
    rotation = rotation_of(texts).numpy()
    energy = ((texts @ rotation.T) ** 2).mean(0)
    assert energy[:6].sum() == pytest.approx(1.0, abs=1e-4)
    assert np.all(np.diff(energy[:6]) <= 1e-6)


def test_name_weighs_as_much_as_all_captions_together() -> None:
    vectors = np.eye(DIM, dtype=np.float32)[:3]
    (target,) = Captions(vectors, [[0, 1, 2]]).targets()
    expected = torch.tensor([4 / 3, 1 / 3, 1 / 3])
    torch.testing.assert_close(target[:3], expected / expected.norm())
