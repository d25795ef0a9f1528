"""What crash containment costs: the same assets decoded in a child and in this process, in interleaved rounds.

`python -m tests.benchmarks.isolation [--rounds N]` prints, for each kind of asset, the time of one in process, the
time in the child, and their ratio. Wall time: the child decodes ahead while this process takes what is ready.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from operators.decode import registry
from operators.isolation.decoders import Decoders
from schemas.config import DecodeConfig
from schemas.recipe import Recipe
from tests.benchmarks.corpus import WORDS
from tests.operators.decode.clips import audio, card, every, tone, video
from tests.operators.decode.pages import Words, pdf_bytes
from tests.operators.decode.test_registry import no_reference

COUNTER = Words()
_ROUND_S = 0.4
_CARD = card()


def photo(width: int, height: int) -> bytes:
    """A photograph-like JPEG."""
    noise = np.random.default_rng(0).integers(0, 255, (height // 16, width // 16, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).resize((width, height)).save(out, "JPEG", quality=85)
    return out.getvalue()


def prose(words: int) -> bytes:
    """English-like sentences."""
    draw = random.Random(0)
    return " ".join(draw.choice(WORDS) + ("." if draw.random() < 0.1 else "") for _ in range(words)).encode()


def clip() -> bytes:
    """Forty seconds of 640 x 360 with sound."""
    frame = np.random.default_rng(1).integers(0, 255, (360, 640, 3), np.uint8)
    return video(every(40, 40_000), lambda at: np.roll(frame, int(at * 25), axis=1), sound=tone(40, 48_000),
                 options={"preset": "ultrafast"})  # fmt: skip


ASSETS: dict[str, Callable[[], bytes]] = {
    "text, 100 words": lambda: prose(100),
    "text, 20,000 words": lambda: prose(20_000),
    "JPEG 640 x 480": lambda: photo(640, 480),
    "JPEG 12 megapixels": lambda: photo(4000, 3000),
    "WAV 60 s": lambda: audio("wav", "pcm_s16le", tone(60)),
    "MP3 60 s": lambda: audio("mp3", "libmp3lame", tone(60)),
    "PDF 10 pages": lambda: pdf_bytes(*[prose(200).decode().replace(". ", "\n")] * 10),
    "MP4 40 s 640 x 360": clip,
}
Decode = Callable[..., Any]


def seconds(decode: Decode, data: bytes, times: int) -> float:
    """Of decoding one asset to its last segment."""
    started = time.perf_counter()
    for _ in range(times):
        _, segments = decode(io.BytesIO(data), "x", Recipe(), _CARD, COUNTER, no_reference)
        for _segment in segments:
            pass
    return (time.perf_counter() - started) / times


def measure(data: bytes, isolated: Decoders, rounds: int) -> tuple[float, float, float]:
    """Median milliseconds in process and in the child, and the median of the rounds' ratios."""
    ways = (registry.decode, isolated.decode)
    times = max(1, int(_ROUND_S / max(seconds(way, data, 1) for way in ways for _ in range(2))))
    here, there = [], []
    for number in range(rounds):
        order = ways if number % 2 else ways[::-1]
        found = {way: seconds(way, data, times) for way in order}
        here.append(found[ways[0]])
        there.append(found[ways[1]])
    ratios = [b / a for a, b in zip(here, there, strict=True)]
    return 1e3 * statistics.median(here), 1e3 * statistics.median(there), statistics.median(ratios)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    started = time.perf_counter()
    isolated = Decoders(DecodeConfig())
    seconds(isolated.decode, b"a word", 1)
    print(f"start of a child and its first asset: {time.perf_counter() - started:.2f} s")
    print("| asset | in process, ms | in a child, ms | child / process |\n|---|---|---|---|")
    for name, make in ASSETS.items():
        here, there, ratio = measure(make(), isolated, rounds)
        print(f"| {name} | {here:.2f} | {there:.2f} | {ratio:.2f} |", flush=True)
    isolated.close()


if __name__ == "__main__":
    main()
