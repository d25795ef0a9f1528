"""Features of the frozen image towers, computed once and kept: what heads and adapters are trained on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from operators.model.composed.ingredients import CLASSIFIER, IMAGE
from operators.model.composed.vision import FEATURES, SIDE, VisionTower
from operators.model.fused import efficientnet
from pipelines.training.data.pictures import Picture
from pipelines.training.data.raster import augmented, open_picture, pixels

See = Callable[[torch.Tensor], torch.Tensor]
"""uint8 pixels `[pictures, side, side, 3]` to features `[pictures, width]`."""

_BATCH = 32


def image_features(
    pictures: Sequence[Picture], cache: Path, view: int = 0, device: str = "cpu"
) -> npt.NDArray[np.float32]:
    """What the composed model's tower sees; view 0 is the picture itself, others are seeded augmentations.

    Returns:
        float32 `[pictures, FEATURES]`, read from `cache` where an earlier call left it.
    """
    return _cached(pictures, cache, FEATURES, lambda: _look(pictures, _composed_tower(device), SIDE, view))


def sight_features(
    pictures: Sequence[Picture], cache: Path, view: int = 0, device: str = "cpu"
) -> npt.NDArray[np.float32]:
    """What the fused model's tower sees: float32 `[pictures, efficientnet.FEATURES]`, cached likewise."""
    side, width = efficientnet.SIDE, efficientnet.FEATURES
    return _cached(pictures, cache, width, lambda: _look(pictures, _fused_tower(device), side, view))


def _composed_tower(device: str) -> See:
    tower = VisionTower(IMAGE.verified()).to(device)
    return lambda batch: tower(batch)


def _fused_tower(device: str) -> See:
    return efficientnet.load_tower(CLASSIFIER.verified()).to(device)


def _cached(
    pictures: Sequence[Picture], cache: Path, width: int, make: Callable[[], npt.NDArray[np.float32]]
) -> npt.NDArray[np.float32]:
    if cache.exists():
        kept: npt.NDArray[np.float16] = np.load(cache)
        if kept.shape == (len(pictures), width):
            return kept.astype(np.float32)
    made = make()
    cache.parent.mkdir(parents=True, exist_ok=True)
    np.save(cache, made.astype(np.float16))
    return made


def _look(pictures: Sequence[Picture], see: See, side: int, view: int) -> npt.NDArray[np.float32]:
    parts = []
    for start in range(0, len(pictures), _BATCH):
        stacked = np.stack([_view(p, side, view) for p in pictures[start : start + _BATCH]])
        parts.append(see(torch.from_numpy(stacked)).cpu().numpy())
    return np.concatenate(parts).astype(np.float32)


def _view(picture: Picture, side: int, view: int) -> npt.NDArray[np.uint8]:
    image = open_picture(picture.path)
    if view:
        image = augmented(image, random.Random(f"{picture.source}/{picture.path.name}/{view}"))  # noqa: S311
    return pixels(image, side)
