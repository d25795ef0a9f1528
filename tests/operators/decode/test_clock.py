"""Timestamps: the clock in the picture against the locator, and against the sound."""

from __future__ import annotations

import io
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from operators.decode.video import decode_video
from operators.parts import PartKind, Segment
from schemas.card import ImageInput
from schemas.recipe import Recipe, VideoRecipe
from tests.operators.decode.clips import RATE, card, tone
from tests.operators.decode.clock import FILM, NTSC, clocked, read, steady, uneven
from tests.operators.decode.test_video import rotated

X264 = {"preset": "ultrafast", "bf": "2", "crf": "18"}
SQUARE = ImageInput(side=80)


def decode(data: bytes, **video: object) -> list[Segment]:
    recipe = Recipe(video=VideoRecipe(**video))
    return list(decode_video(io.BytesIO(data), recipe, card(frame=SQUARE)))


def clocks(segments: list[Segment]) -> list[tuple[int, int]]:
    """Where each frame lies by its locator, and the time that it shows, in milliseconds."""
    return [
        (segment.locator.start_ms + part.at_ms, read(part.array)[0])
        for segment in segments
        for part in segment.parts
        if part.kind is PartKind.FRAME
    ]


SECONDS = 42
RATES = {
    "film": steady(FILM, SECONDS),
    "ntsc": steady(NTSC, SECONDS),
    "uneven": uneven(SECONDS),
    "slow": steady(Fraction(4, 3), SECONDS),
}
CODECS = [
    ("mp4", "libx264", X264 | {"g": "250"}),
    ("mp4", "libx264", X264 | {"g": "12"}),
    ("matroska", "libx264", X264 | {"g": "30"}),
    ("webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime", "crf": "20", "g": "30"}),
    ("mov", "mpeg4", {"qscale": "3", "g": "24"}),
]


MILLISECOND = Fraction(1, 1000)
CODEC_BASES = [Fraction(1, 90_000), Fraction(1, 90_000), MILLISECOND, MILLISECOND, MILLISECOND]


@cache
def film(rate: str, codec: int) -> bytes:
    container, encoder, options = CODECS[codec]
    return clocked(RATES[rate], container, encoder, options=options, base=CODEC_BASES[codec])


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    "codec", range(len(CODECS)), ids=lambda i: "-".join([*CODECS[i][:2], CODECS[i][2]["g"]])
)
def test_the_clock_of_each_frame_is_its_locator(rate: str, codec: int) -> None:
    times, base = RATES[rate], CODEC_BASES[codec]
    seen = clocks(decode(film(rate, codec)))
    assert [at for at, _ in seen][:SECONDS] == [1000 * i for i in range(SECONDS)]
    shown = np.array([float(round(at / base) * base * 1000) for at in times])
    for at, clock in seen:
        # The first frame that starts within 0.1 s, else the one on display.
        soon = shown[(shown >= at) & (shown <= at + 100)]
        on_display = shown[shown <= at]
        assert abs(clock - int(soon[0] if len(soon) else on_display[-1])) <= 1
        assert abs(clock - at) <= 500 or rate == "slow"


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    "codec", range(len(CODECS)), ids=lambda i: "-".join([*CODECS[i][:2], CODECS[i][2]["g"]])
)
def test_frames_left_out_are_frames_that_no_slot_shows(
    rate: str, codec: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = film(rate, codec)
    quick = decode(data)
    monkeypatch.setattr("operators.decode.video._HAS_NONREF", frozenset())
    monkeypatch.setattr("operators.decode.video._Footage._jump", lambda *_: None)
    for one, other in zip(quick, decode(data), strict=True):
        assert one.locator == other.locator
        assert all(np.array_equal(a.array, b.array) for a, b in zip(one.parts, other.parts, strict=True))


@pytest.mark.parametrize("later", [Fraction(5), Fraction(1001, 30_000), Fraction(3600)])
@pytest.mark.parametrize("container", ["mp4", "mpegts", "matroska"])
def test_a_file_that_starts_late_is_told_from_its_first_frame(container: str, later: Fraction) -> None:
    base = Fraction(1, 1000) if container == "matroska" else Fraction(1, 90_000)
    data = clocked(steady(NTSC, 12), container, options=X264 | {"g": "15"}, base=base, later=later)
    assert all(abs(clock - at) <= 35 for at, clock in clocks(decode(data)))


def test_what_an_edit_list_cuts_off_is_not_seen() -> None:
    data = clocked(
        steady(FILM, 9, start=Fraction(-2)),
        options=X264 | {"g": "250", "bf": "0"},
        muxer={"avoid_negative_ts": "disabled", "use_editlist": "1"},
    )
    assert b"elst" in data
    seen = clocks(decode(data))
    assert [at for at, _ in seen] == [1000 * i for i in range(9)]
    assert all(abs(clock - at) <= 45 for at, clock in seen)


@pytest.mark.parametrize(("matrix", "turns"), [((0, 1, -1, 0), 1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 3)])
def test_a_rotated_track_is_read_upright_and_on_time(matrix: tuple[int, int, int, int], turns: int) -> None:
    data = rotated(clocked(steady(NTSC, 8), options=X264), matrix)
    for segment in decode(data):
        for part in segment.parts:
            clock, _ = read(np.rot90(part.array, turns))
            assert abs(clock - (segment.locator.start_ms + part.at_ms)) <= 35


def test_many_frames_a_second_are_each_on_time() -> None:
    seen = clocks(decode(clocked(steady(NTSC, 12), options=X264), fps=10))
    assert [at for at, _ in seen] == [100 * i for i in range(120)]
    assert all(abs(clock - at) <= 50 for at, clock in seen)


@pytest.mark.parametrize("later", [Fraction(0), Fraction(7, 3)])
@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
@pytest.mark.parametrize("rate", [FILM, NTSC])
def test_a_flash_and_its_beep_are_at_the_same_time(rate: Fraction, container: str, later: Fraction) -> None:
    starts = [1_500, 4_250, 6_900]
    sound = np.zeros(9 * 48_000, np.int16)
    for start in starts:
        sound[start * 48 : (start + 300) * 48] = tone(0.3, 48_000)
    flashes = [range(start, start + 300) for start in starts]
    base = Fraction(1, 1000) if container == "matroska" else Fraction(1, 90_000)
    data = clocked(
        steady(rate, 9), container, flashes=flashes, sound=sound, options=X264, base=base, later=later
    )
    segments = decode(data, fps=20)
    flashing = [
        segment.locator.start_ms + part.at_ms
        for segment in segments
        for part in segment.parts
        if part.kind is PartKind.FRAME and read(part.array)[1]
    ]
    heard = np.concatenate([p.array for s in segments for p in s.parts if p.kind is PartKind.AUDIO])
    loud = np.flatnonzero(np.abs(heard.astype(int)) > 2_000) * 1000 / RATE
    for start in starts:
        assert min(at for at in flashing if at > start - 400) == pytest.approx(start, abs=60)
        assert float(loud[loud > start - 400].min()) == pytest.approx(start, abs=30)


def test_keyframes_alone_are_never_later_than_their_second_and_at_most_a_gop_older() -> None:
    data = clocked(steady(NTSC, 40), options=X264 | {"g": "45", "keyint_min": "45", "sc_threshold": "0"})
    seen = clocks(decode(data, keyframes=True))
    assert [at for at, _ in seen] == [1000 * i for i in range(40)]
    assert all(-100 <= at - clock <= 1_502 for at, clock in seen)
    keys = {round(45 * i / NTSC * 1000) for i in range(40)}
    assert {clock for _, clock in seen} <= keys
