"""The corpora of the side-by-side benchmark, from one seed: pictures, PDFs, spoken clips, videos, and all mixed."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from tests.benchmarks.corpus import SEED, WORDS
from tests.benchmarks.media import photo
from tests.operators.decode.clips import audio, every, video
from tests.operators.decode.pages import pdf_bytes

KINDS = {"documents": ".pdf", "images": ".jpg", "audio": ".mp3", "videos": ".mp4"}
_SPEECH = Path(__file__).parents[3] / "infra" / "demo" / "corpus" / "audio"
_SPOKEN = ("bicycle-repair.flac", "bread-recipe.ogg", "soccer-report.ogg")
_LINES, _WIDTH = 45, 12
"""Lines of a page, words of a line."""
_PAPER = "0 -680 1200 400"
"""Room for them at the size that they are written in."""


def make(folder: Path, workload: str, count: int) -> Path:
    """A folder of so many files; `mixed` has a tenth each of videos and documents, a fifth of sound, and images.

    One that is there already is kept.
    """
    home = folder / f"{workload}-{count}"
    if not home.exists():
        part = home.with_suffix(".part")
        part.mkdir(parents=True)
        for kind, number in _shares(workload, count).items():
            for n in range(number):
                (part / f"{kind}-{n:05d}{KINDS[kind]}").write_bytes(_MAKERS[kind](n))
        part.rename(home)
    return home


def change(folder: Path, copy: Path, share: float) -> int:
    """The corpus a day later: a share of its files holds something else, the others are as they were."""
    files = sorted(folder.iterdir())
    changed = random.Random(SEED).sample(range(len(files)), max(1, round(share * len(files))))
    for n, file in enumerate(files):
        target = copy / file.name
        if n in changed:
            kind = file.name.partition("-")[0]
            target.unlink(missing_ok=True)
            target.write_bytes(_MAKERS[kind](len(files) + n))
        elif not target.exists():
            os.link(file, target)
    return len(changed)


def _shares(workload: str, count: int) -> dict[str, int]:
    if workload != "mixed":
        return {workload: count}
    tenth = max(1, count // 10)
    return {"videos": tenth, "documents": tenth, "audio": 2 * tenth, "images": count - 4 * tenth}


def _image(n: int) -> bytes:
    """A part of a large photograph with grain of its own, 1280 x 960."""
    draw = np.random.default_rng([SEED, n])
    top, left = draw.integers(0, 480), draw.integers(0, 640)
    shot = np.asarray(photo(1920, 1440))[top : top + 960, left : left + 1280].astype(np.int16)
    grain = draw.integers(-6, 7, (960, 1280, 1), np.int16)
    out = io.BytesIO()
    turned = np.roll(shot, int(draw.integers(0, 3)), axis=2) + grain
    Image.fromarray(turned.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=88)
    return out.getvalue()


def _document(n: int) -> bytes:
    """1 to 6 pages of 540 words."""
    draw = random.Random(f"{SEED}-{n}")
    pages = [
        "\n".join(" ".join(draw.choices(WORDS, k=_WIDTH)) + "." for _ in range(_LINES))
        for _ in range(draw.randint(1, 6))
    ]
    return pdf_bytes(*pages, size=_PAPER)


def _speech(n: int, rate: int, least_s: float, most_s: float) -> np.ndarray:
    """A stretch of one of the demo's readings, int16 mono at `rate`."""
    draw = random.Random(f"{SEED}-{n}")
    samples, own = soundfile.read(_SPEECH / draw.choice(_SPOKEN), dtype="int16", always_2d=True)
    heard = np.tile(samples[:, 0], 8)
    start, length = draw.uniform(0, len(samples) / own), draw.uniform(least_s, most_s)
    places = ((start + np.arange(round(length * rate)) / rate) * own).astype(np.int64)
    return heard[places]


def _clip(n: int) -> bytes:
    """4 to 12 seconds of speech as MP3 at 44.1 kHz, as clips of a speech collection are."""
    return audio("mp3", "libmp3lame", _speech(n, 44_100, 4, 12), 44_100)


def _video(n: int) -> bytes:
    """10 seconds of 640 x 360 at 25 frames a second, a pan, with speech."""
    wide = np.asarray(photo(1600, 360))
    start = random.Random(f"{SEED}-{n}").randrange(300)
    return video(
        every(40, 10_000),
        lambda at: wide[:, start + int(at * 25) : start + int(at * 25) + 640],
        sound=_speech(n, 48_000, 10, 10),
        options={"preset": "veryfast", "threads": "1"},
    )


_MAKERS: dict[str, Callable[[int], bytes]] = {
    "documents": _document,
    "images": _image,
    "audio": _clip,
    "videos": _video,
}
