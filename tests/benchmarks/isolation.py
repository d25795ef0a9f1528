"""What crash containment costs: streams of assets decoded in a child and in this process, in interleaved rounds.

`python -m tests.benchmarks.isolation [--rounds N]` prints, for each kind of asset, the time of one in process, the
time as a run decodes it (in the child, or here what needs none), and the ratios of wall and of CPU time. Wall: the
child decodes ahead while this process takes what is ready. Linux alone.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import psutil
from PIL import Image

from operators.decode import registry
from operators.isolation.decoders import Decoders
from schemas.config import DecodeConfig
from schemas.recipe import Recipe
from tests.benchmarks.corpus import WORDS
from tests.benchmarks.decode import COUNTER, stream
from tests.benchmarks.fair import cpu_clock
from tests.operators.decode.clips import audio, card, every, tone, video
from tests.operators.decode.pages import pdf_bytes
from tests.operators.decode.test_registry import no_reference

_ROUND_S = 0.4
CARD, RECIPE = card(), Recipe()


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
    "text, one word": lambda: b"word",
    "text, 100 words": lambda: prose(100),
    "text, 20,000 words": lambda: prose(20_000),
    "JPEG 640 x 480": lambda: photo(640, 480),
    "JPEG 12 megapixels": lambda: photo(4000, 3000),
    "WAV 60 s": lambda: audio("wav", "pcm_s16le", tone(60)),
    "WAV 60 s, 16 kHz": lambda: audio("wav", "pcm_s16le", tone(60, 16_000), 16_000),
    "MP3 60 s": lambda: audio("mp3", "libmp3lame", tone(60)),
    "PDF 10 pages": lambda: pdf_bytes(*[prose(200).decode().replace(". ", "\n")] * 10),
    "MP4 40 s 640 x 360": clip,
}
Way = Callable[[bytes, int], None]
Spent = tuple[float, float]


def in_process(data: bytes, times: int) -> None:
    """Decode an asset so many times."""
    for _ in range(times):
        list(registry.decode(io.BytesIO(data), "x", RECIPE, CARD, COUNTER, no_reference)[1])


def in_child(isolated: Decoders, data: bytes, times: int) -> None:
    """The same as a run does it."""
    stream((io.BytesIO(data) for _ in range(times)), isolated, RECIPE, CARD, COUNTER)


def spent(way: Way, data: bytes, times: int, child: psutil.Process) -> Spent:
    """Wall seconds of decoding one asset to its last segment, and CPU seconds of both processes."""
    wall, cpu = time.perf_counter(), time.process_time() + _cpu(child)
    way(data, times)
    return (time.perf_counter() - wall) / times, (time.process_time() + _cpu(child) - cpu) / times


def _cpu(child: psutil.Process) -> float:
    return time.clock_gettime(cpu_clock(child.pid))


def measure(data: bytes, isolated: Decoders, child: psutil.Process, rounds: int) -> list[float]:
    """Median milliseconds in process and in the child, then the medians of the rounds' ratios: wall and CPU."""
    here, there = in_process, partial(in_child, isolated)
    shortest = min(spent(way, data, 1, child)[1] for way in (here, there) for _ in range(2))
    times, found = max(1, int(_ROUND_S / shortest)), []
    for number in range(rounds):
        first, second = (here, there) if number % 2 else (there, here)
        pair = {way: spent(way, data, times, child) for way in (first, second)}
        found.append((pair[here], pair[there]))
    return [
        1e3 * statistics.median(one[0] for one, _ in found),
        1e3 * statistics.median(other[0] for _, other in found),
        *(statistics.median(other[i] / one[i] for one, other in found) for i in (0, 1)),
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    started = time.perf_counter()
    isolated = Decoders(DecodeConfig())
    list(isolated.decode(io.BytesIO(photo(32, 32)), "x", RECIPE, CARD, COUNTER, no_reference)[1])
    print(f"start of a child and its first asset: {time.perf_counter() - started:.2f} s")
    (child,) = psutil.Process().children()
    print("| asset | in process, ms | isolated, ms | wall, isolated / process | CPU, isolated / process |")
    print("|---|---|---|---|---|")
    for name, make in ASSETS.items():
        here, there, wall, cpu = measure(make(), isolated, child, rounds)
        print(f"| {name} | {here:.2f} | {there:.2f} | {wall:.2f} | {cpu:.2f} |", flush=True)
    isolated.close()


if __name__ == "__main__":
    main()
