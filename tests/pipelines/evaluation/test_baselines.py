"""kNN transfer finds the caption of a picture's look-alikes."""

from __future__ import annotations

import numpy as np

from pipelines.evaluation.baselines import knn_transfer


def test_pictures_get_the_caption_of_their_cluster() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 20)).astype(np.float32) * 4
    captions = np.eye(4, dtype=np.float32)
    label = np.repeat(np.arange(4), 25)
    train = centres[label] + rng.normal(size=(100, 20)).astype(np.float32)
    embed = knn_transfer(train, captions[label], neighbours=5, components=4)
    fresh = centres + rng.normal(size=(4, 20)).astype(np.float32)
    np.testing.assert_array_equal(embed(fresh).argmax(1), np.arange(4))
    np.testing.assert_allclose(embed(fresh).sum(1), 1, rtol=1e-5)
