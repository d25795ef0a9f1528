"""kNN transfer finds the caption of a picture's look-alikes."""

from __future__ import annotations

import numpy as np

from pipelines.evaluation.baselines import Vectors, knn_transfer, paired_projections


def unit(x: Vectors) -> Vectors:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), np.float32)


def test_pictures_get_the_caption_of_their_cluster() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 20)).astype(np.float32) * 4
    captions = np.eye(4, dtype=np.float32)
    label = np.repeat(np.arange(4), 25)
    train = centres[label] + rng.normal(size=(100, 20)).astype(np.float32)
    embed = knn_transfer(train, captions[label], unit, neighbours=5)
    fresh = centres + rng.normal(size=(4, 20)).astype(np.float32)
    np.testing.assert_array_equal(embed(fresh).argmax(1), np.arange(4))
    np.testing.assert_allclose(embed(fresh).sum(1), 1, rtol=1e-5)


def test_projections_of_both_encoders_bring_pictures_and_captions_together() -> None:
    rng = np.random.default_rng(0)
    said = rng.normal(size=(40, 16)).astype(np.float32)
    label = np.repeat(np.arange(40), 8)
    mixing = rng.normal(size=(16, 24)).astype(np.float32)
    pictures = said[label] @ mixing + 0.1 * rng.normal(size=(320, 24)).astype(np.float32)
    captions = [said[[number]] for number in label]
    see, say = paired_projections(pictures, captions, [f"noun {number}" for number in label], epochs=120)
    found = (unit(say(said)) @ unit(see((said @ mixing).astype(np.float32))).T).argmax(1)
    assert (found == np.arange(40)).mean() > 0.8
