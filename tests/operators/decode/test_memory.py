"""Length costs no memory (I7): hours of video and sound, and hundreds of pages, in the memory of a few."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.operators.decode.clips import audio, every, looped, tone, video
from tests.operators.decode.pages import scanned_pdf

MB = 1_000_000
DECODE = """
import sys
import numpy as np
from operators.decode.registry import decode
from schemas.card import ImageInput
from schemas.recipe import Recipe
from tests.operators.decode.clips import card
from tests.operators.decode.memory import peak_bytes
from tests.operators.decode.pages import Words
from tests.operators.decode.test_registry import no_reference

large = card(image=ImageInput(side=896), frame=ImageInput(side=384))
count, end, before = 0, 0, peak_bytes()
with open(sys.argv[1], "rb") as file:
    for segment in decode(file, sys.argv[1], Recipe(), large, Words(), no_reference)[1]:
        count, end = count + 1, segment.locator.end_ms or segment.locator.page
print(count, end, peak_bytes() - before)
"""


def growth(path: Path) -> tuple[int, int, int]:
    """Segments of a file, the last end in ms or page, and the bytes that decoding it took above the imports."""
    command = [sys.executable, "-c", DECODE, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, end, grown = map(int, done.stdout.split())
    return count, end, grown


def film(path: Path, minutes: int) -> None:
    """320 x 180 at 25 frames a second with sound; a minute of seeded noise over and over."""
    still = np.random.default_rng(0).integers(0, 255, (180, 320, 3), np.uint8)
    clip = video(
        every(40, 60_000),
        lambda at: np.roll(still, int(at * 3), axis=1),
        sound=tone(60, 48_000),
        options={"preset": "ultrafast", "g": "250", "crf": "40"},
    )
    with path.open("wb") as file:
        looped(clip, minutes, "mp4", file)


def recording(path: Path, minutes: int) -> None:
    noise = np.random.default_rng(0).integers(-900, 900, 60 * 48_000).astype(np.int16)
    with path.open("wb") as file:
        looped(audio("matroska", "libopus", tone(60, 48_000) + noise, 48_000), minutes, "matroska", file)


def scans(path: Path, pages: int) -> None:
    path.write_bytes(scanned_pdf(pages))


@pytest.mark.parametrize(
    ("make", "length", "unit", "limit"),
    [
        (film, 6, 60_000, 100 * MB),
        (recording, 10, 60_000, 10 * MB),
        (scans, 30, 1, 60 * MB),
        pytest.param(film, 180, 60_000, 1000 * MB, marks=pytest.mark.slow, id="3 hours of video"),
        pytest.param(recording, 600, 60_000, 12 * MB, marks=pytest.mark.slow, id="10 hours of sound"),
        pytest.param(scans, 500, 1, 1000 * MB, marks=pytest.mark.slow, id="500 pages"),
    ],
)
def test_a_long_asset_is_decoded_whole_in_bounded_memory(
    make: Callable[[Path, int], None], length: int, unit: int, limit: int, tmp_path: Path
) -> None:
    """Whole, the short ones are 140 MB of frames, 19 MB of samples and 130 MB of decoded scans."""
    make(tmp_path / "asset", length)
    count, end, grown = growth(tmp_path / "asset")
    assert end == pytest.approx(length * unit, rel=0.01)
    assert count >= length * unit // 32_000 or unit == 1
    assert grown < limit, f"{grown / MB:.0f} MB"
