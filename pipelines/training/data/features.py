"""Features of the frozen image tower, computed once and kept: what the heads are trained on."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from operators.model.composed.ingredients import IMAGE
from operators.model.composed.vision import FEATURES, SIDE, VisionTower
from pipelines.training.data.pictures import Picture
from pipelines.training.data.raster import augmented, open_picture, pixels

_BATCH = 32


def image_features(
    pictures: Sequence[Picture], cache: Path, view: int = 0, device: str = "cpu"
) -> npt.NDArray[np.float32]:
    """Features of each picture's view; view 0 is the picture itself, others are seeded augmentations.

    Returns:
        float32 `[pictures, FEATURES]`, read from `cache` where an earlier call left it.
    """
    if cache.exists():
        kept: npt.NDArray[np.float16] = np.load(cache)
        if kept.shape == (len(pictures), FEATURES):
            return kept.astype(np.float32)
    tower = VisionTower(IMAGE.verified()).to(device)
    out = np.empty((len(pictures), FEATURES), np.float32)
    for start in range(0, len(pictures), _BATCH):
        batch = pictures[start : start + _BATCH]
        stacked = np.stack([_view(p, view) for p in batch])
        out[start : start + len(batch)] = tower(torch.from_numpy(stacked)).cpu().numpy()
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, out.astype(np.float16))
    return out


def _view(picture: Picture, view: int) -> npt.NDArray[np.uint8]:
    image = open_picture(picture.path)
    if view:
        image = augmented(image, random.Random(f"{picture.source}/{picture.path.name}/{view}"))  # noqa: S311
    return pixels(image, SIDE)
