"""A synthetic corpus of photograph-like JPEGs and short texts, the same for every way that is measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

WORDS = [
    "harbour",
    "engine",
    "garden",
    "violin",
    "storm",
    "bridge",
    "market",
    "river",
    "bread",
    "lantern",
    "tower",
    "forest",
    "window",
    "station",
    "mountain",
    "kitchen",
    "painting",
    "signal",
    "copper",
    "winter",
    "orange",
    "letter",
    "paper",
    "island",
    "morning",
    "silver",
    "quiet",
    "gentle",
    "heavy",
    "distant",
    "bright",
    "narrow",
    "ancient",
    "runs",
    "carries",
    "follows",
    "opens",
    "watches",
    "builds",
    "under",
    "beside",
]
SEED = 20260101


def make_corpus(folder: Path, images: int, texts: int) -> str:
    """Write the corpus; 640 x 480 JPEGs at quality 85, texts of 60 to 120 words. An existing one is kept."""
    done = folder / f"done-{images}-{texts}"
    if done.exists():
        return str(folder / "data")
    random = np.random.default_rng(SEED)
    for kind in ("images", "texts"):
        (folder / "data" / kind).mkdir(parents=True, exist_ok=True)
    for n in range(images):
        coarse = random.integers(0, 256, (24, 32, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)
        noise = random.integers(0, 24, (480, 640, 3), np.uint8)
        pixels = np.clip(np.asarray(picture, np.int16) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "data" / "images" / f"{n:05d}.jpg", quality=85)
    for n in range(texts):
        words = " ".join(random.choice(WORDS, random.integers(60, 121)))
        (folder / "data" / "texts" / f"{n:05d}.txt").write_text(words + ".")
    done.touch()
    return str(folder / "data")
