"""Inputs of mixed kinds and lengths, as our preparer and as sentence-transformers' `encode` take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from operators.parts import Part, PartKind
from tests.benchmarks.corpus import SEED, WORDS

RATE = 16_000
KINDS = ("text", "image", "audio", "video", "page")
COUNTS = {"text": 48, "image": 6, "audio": 6, "video": 2, "page": 2}


@dataclass(frozen=True, slots=True)
class Sample:
    """One input: our parts, and the same for `encode`."""

    kind: str
    parts: tuple[Part, ...]
    theirs: Any


def make_samples(scale: int, words: int, seconds: float, frames: int) -> list[Sample]:
    """A shuffled mixture: texts of 2 to `words` words, most of them short; sounds to `seconds`; films to `frames`."""
    draws = np.random.default_rng(SEED)
    makers = {
        "text": lambda: _text(draws, words),
        "image": lambda: _image(draws),
        "audio": lambda: _audio(draws, seconds),
        "video": lambda: _video(draws, frames),
        "page": lambda: _page(draws, words),
    }
    samples = [makers[kind]() for kind, count in COUNTS.items() for _ in range(count * scale)]
    return [samples[i] for i in draws.permutation(len(samples))]


def _words(draws: np.random.Generator, most: int) -> str:
    count = int(np.clip(draws.lognormal(np.log(most / 12), 1.2), 2, most))
    return " ".join(draws.choice(WORDS, count))


def _text(draws: np.random.Generator, most: int) -> Sample:
    text = _words(draws, most)
    return Sample("text", (Part(PartKind.TEXT, text),), text)


def _pixels(draws: np.random.Generator) -> Any:
    ratio = draws.choice([0.5, 0.75, 1.0, 4 / 3, 16 / 9, 3.0])
    height, width = int(800 / ratio**0.5), int(800 * ratio**0.5)
    coarse = Image.fromarray(draws.integers(0, 256, (24, 24, 3), np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _image(draws: np.random.Generator) -> Sample:
    pixels = _pixels(draws)
    return Sample("image", (Part(PartKind.IMAGE, data=pixels),), Image.fromarray(pixels))


def _page(draws: np.random.Generator, most: int) -> Sample:
    pixels, text = _pixels(draws), _words(draws, most)
    parts = (Part(PartKind.IMAGE, data=pixels), Part(PartKind.TEXT, text))
    return Sample("page", parts, {"image": [Image.fromarray(pixels)], "text": text})


def _audio(draws: np.random.Generator, longest: float) -> Sample:
    samples = int(RATE * draws.uniform(longest / 10, longest))
    wave = (draws.standard_normal(samples) * 3_000).astype(np.int16)
    theirs = {"audio": {"array": wave.astype(np.float32) / 32_768, "sampling_rate": RATE}}
    return Sample("audio", (Part(PartKind.AUDIO, data=wave),), theirs)


def _video(draws: np.random.Generator, most: int) -> Sample:
    count = int(draws.integers(max(2, most // 2), most + 1))
    film = np.stack([_pixels_of(draws, 360, 640) for _ in range(count)])
    parts = tuple(Part(PartKind.FRAME, data=frame, at_ms=1000 * i) for i, frame in enumerate(film))
    metadata = {
        "fps": 1,
        "total_num_frames": count,
        "duration": float(count),
        "frames_indices": [*range(count)],
    }
    return Sample("video", parts, {"video": {"array": film, "video_metadata": metadata}})


def _pixels_of(draws: np.random.Generator, height: int, width: int) -> Any:
    coarse = Image.fromarray(draws.integers(0, 256, (12, 16, 3), np.uint8))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
