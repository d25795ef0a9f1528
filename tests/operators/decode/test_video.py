"""Video: right frames at right times, sound beside its picture, no second unseen."""

from __future__ import annotations

import io
import struct

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decode.video import decode_video
from operators.decode.windows import Plan, Shown, decode_frames
from operators.parts import Part, PartKind, Segment
from schemas.card import ImageInput, Limits, Modality
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe, VideoRecipe
from tests.operators.decode.clips import RATE, audio, broken, card, counting, every, flash, solid, tone, video

RECIPE = Recipe()
FORMATS = [
    ("mp4", "libx264", "aac"),
    ("mov", "mpeg4", "aac"),
    ("webm", "libvpx-vp9", "libopus"),
    ("matroska", "libx264", "flac"),
    ("mpegts", "libx264", "aac"),
]
FAST = {"preset": "ultrafast", "bf": "2", "crf": "12"}


def decode(data: bytes, recipe: Recipe = RECIPE, **changes: object) -> list[Segment]:
    return list(decode_video(io.BytesIO(data), recipe, card(**changes)))


def tried(data: bytes) -> list[Segment] | ErrorCode:
    try:
        return decode(data)
    except AssetError as error:
        return error.code


def fails(data: bytes, recipe: Recipe = RECIPE, **changes: object) -> AssetError:
    with pytest.raises(AssetError) as caught:
        decode(data, recipe, **changes)
    assert "\n" not in caught.value.detail
    return caught.value


def frames(segment: Segment) -> list[Part]:
    return [p for p in segment.parts if p.kind is PartKind.FRAME]


def sounds(segment: Segment) -> list[Part]:
    return [p for p in segment.parts if p.kind is PartKind.AUDIO]


def level(part: Part) -> int:
    return round(float(part.array.mean()))


def options(codec: str) -> dict[str, str]:
    return {"libx264": FAST, "libvpx-vp9": {"cpu-used": "8", "deadline": "realtime"}}.get(codec, {})


def beep(second: int, until: int) -> np.ndarray:
    samples = np.zeros(until * 48_000, np.int16)
    samples[second * 48_000 : (second + 1) * 48_000] = tone(1, 48_000)
    return samples


@pytest.mark.parametrize(("container", "codec", "voice"), FORMATS)
def test_a_beep_and_a_white_picture_of_one_second_meet(container: str, codec: str, voice: str) -> None:
    data = video(every(40, 6000), flash(3), container, codec, beep(3, 6), voice, options(codec))
    (segment,) = decode(data)
    assert segment.modality is Modality.VIDEO
    assert segment.locator.start_ms == 0
    assert segment.locator.end_ms == pytest.approx(6000, abs=60)
    assert [(p.kind, p.at_ms) for p in segment.parts] == [
        (kind, 1000 * second) for second in range(6) for kind in (PartKind.FRAME, PartKind.AUDIO)
    ]
    assert [level(p) > 128 for p in frames(segment)] == [second == 3 for second in range(6)]
    loud = [float(np.abs(p.array).mean()) > 3000 for p in sounds(segment)]
    assert loud == [second == 3 for second in range(6)]
    assert {len(p.array) for p in sounds(segment)[:-1]} == {RATE}
    assert all(p.array.shape == (32, 32, 3) for p in frames(segment))


def test_frames_tell_their_second_in_every_window() -> None:
    recipe = Recipe(video=VideoRecipe(window_ms=4_000, overlap_ms=1_000))
    segments = decode(video(every(40, 11_500), counting, options=FAST), recipe)
    assert [s.locator.start_ms for s in segments] == [0, 3000, 6000, 9000]
    assert [s.locator.end_ms for s in segments] == [4000, 7000, 10_000, pytest.approx(11_500, abs=40)]
    for segment in segments:
        first = segment.locator.start_ms // 1000
        assert [p.at_ms for p in segment.parts] == [1000 * i for i in range(len(segment.parts))]
        assert [round(level(p) / 20) for p in segment.parts] == [first + i for i in range(len(segment.parts))]


@pytest.mark.parametrize("fps", [0.25, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("gop", ["12", "300"])
def test_other_rates_sample_the_right_moments(fps: float, gop: str) -> None:
    def paint(at: float) -> np.ndarray:
        return solid((round(at * 12),) * 3)

    data = video(every(40, 20_000), paint, options={**FAST, "g": gop})
    parts = [
        (segment.locator.start_ms + part.at_ms, level(part))
        for segment in decode(data, Recipe(video=VideoRecipe(fps=fps)))
        for part in segment.parts
    ]
    assert [at for at, _ in parts] == [round(i * 1000 / fps) for i in range(round(20 * fps))]
    assert all(abs(grey - at * 12 / 1000) <= 3 for at, grey in parts)


def test_jumping_over_spans_sees_what_a_full_decode_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 48, 64, 3)).astype(np.uint8)
    data = video(every(100, 30_000), lambda at: noise[min(299, round(at * 10))], options={**FAST, "g": "10"})
    jumped = decode(data)
    monkeypatch.setattr("operators.decode.video._Footage._jump", lambda *_: None)
    for one, other in zip(jumped, decode(data), strict=True):
        assert one.locator == other.locator
        assert all(np.array_equal(a.array, b.array) for a, b in zip(one.parts, other.parts, strict=True))


def test_variable_frame_rate_shows_what_was_on_display() -> None:
    data = video([0, 500, 4200, 4300, 9000, 9040], counting, options={**FAST, "bf": "0"})
    (segment,) = decode(data)
    assert [p.at_ms for p in segment.parts] == [1000 * i for i in range(len(segment.parts))]
    assert [round(level(p) / 20) for p in segment.parts[:10]] == [0, 0, 0, 0, 0, 4, 4, 4, 4, 9]


def test_a_picture_stays_on_display_while_sound_goes_on() -> None:
    (segment,) = decode(video(every(40, 1000), counting, sound=tone(5, 48_000), options=FAST))
    assert len(frames(segment)) == len(sounds(segment)) == 5
    assert segment.locator.end_ms == pytest.approx(5000, abs=60)


def test_pictures_go_on_when_sound_ends() -> None:
    (segment,) = decode(video(every(40, 5000), counting, sound=tone(1.5, 48_000), options=FAST))
    assert len(frames(segment)) == 5
    assert [p.at_ms for p in sounds(segment)] == [0, 1000]
    assert len(sounds(segment)[1].array) == pytest.approx(RATE / 2, abs=1000)


def test_poor_interleaving_costs_no_sound() -> None:
    data = video(
        every(40, 40_000), counting, "matroska", sound=tone(40, 48_000), sound_codec="flac", options=FAST
    )
    segments = decode(data)
    assert sum(len(p.array) for s in segments for p in sounds(s)) == 40 * RATE
    assert all(sum(len(p.array) for p in sounds(s)) <= 30 * RATE for s in segments)


def test_windows_keep_to_every_limit_of_the_card() -> None:
    data = video(every(100, 20_000), counting, sound=tone(20, 48_000), options=FAST)

    def longest(recipe: Recipe = RECIPE, **limits: int) -> int:
        cap = Limits(**{"tokens": 8192, "text_tokens": 9, **limits})
        segments = decode(data, recipe, limits=cap)
        assert segments[-1].locator.end_ms == pytest.approx(20_000, abs=100)
        return max(len(frames(s)) for s in segments)

    assert longest() == 20
    assert longest(video_frames=7) == 7
    assert longest(video_ms=6_000) == 6
    assert longest(audio_ms=5_500) == 5
    assert longest(Recipe(video=VideoRecipe(sound=False)), audio_ms=5_500) == 20
    assert longest(tokens=100) == 100 // (4 + 25)


def test_sound_is_left_out_where_it_is_not_wanted() -> None:
    data = video(every(40, 2000), counting, sound=tone(2, 48_000), options=FAST)
    (silent,) = decode(data, Recipe(video=VideoRecipe(sound=False)))
    (deaf,) = decode(data, modalities=(Modality.VIDEO,))
    assert sounds(silent) == sounds(deaf) == []
    assert len(frames(silent)) == len(frames(deaf)) == 2


@given(
    length_ms=st.integers(1, 20_000),
    sound_ms=st.integers(0, 20_000),
    step_ms=st.integers(20, 3_000),
    fps=st.sampled_from([0.3, 1.0, 2.0, 29.97]),
    window_ms=st.integers(100, 9_000),
    overlap_ms=st.integers(0, 4_000),
    scenes=st.booleans(),
    scene_min_ms=st.integers(1, 5_000),
)
@settings(max_examples=100, deadline=None)
def test_no_second_is_unseen_or_unheard(
    length_ms: int, sound_ms: int, step_ms: int, fps: float, window_ms: int, overlap_ms: int, **cuts: int
) -> None:
    # Frames 1.8 s apart differ by half of what a value can be and more: scenes change now and then.
    recipe = Recipe(video=VideoRecipe(fps=fps, window_ms=window_ms, overlap_ms=overlap_ms, **cuts))
    plan = Plan.of(recipe, card(), sound=True)
    shown = [
        Shown(
            at * 1000,
            min(at + step_ms, length_ms) * 1000,
            lambda at=at: np.full((1, 1, 3), at // 200, np.uint8),
        )
        for at in range(0, length_ms, step_ms)
    ]
    heard = (np.arange(sound_ms * RATE // 1000) % 30_000).astype(np.int16)
    segments = list(decode_frames(shown, [heard[i : i + 999] for i in range(0, len(heard), 999)], plan))
    end_ms = max(length_ms, sound_ms)
    reached = 0
    samples: dict[int, np.ndarray] = {}
    for segment in segments:
        start, end = segment.locator.start_ms, segment.locator.end_ms
        assert start <= reached < end <= end_ms + 1
        reached = end
        assert [p.at_ms for p in segment.parts] == sorted(p.at_ms for p in segment.parts)
        assert len(frames(segment)) <= min(32, plan.window)
        for part in frames(segment):
            assert level(part) * 200 <= start + part.at_ms + 100
        samples |= {start + p.at_ms: p.array for p in sounds(segment)}
    assert reached >= end_ms - 101
    joined = np.concatenate([samples[at] for at in sorted(samples)]) if samples else heard[:0]
    assert np.array_equal(joined, heard[: len(joined)])
    assert len(heard) - len(joined) <= RATE // 10


@pytest.mark.parametrize("high", [False, True])
@pytest.mark.parametrize("colour", [(220, 40, 40), (40, 200, 60), (30, 60, 230)])
def test_colours_are_those_of_the_source(colour: tuple[int, int, int], high: bool) -> None:
    matrix = av.video.reformatter.Colorspace.ITU709 if high else av.video.reformatter.Colorspace.ITU601
    height = 720 if high else 240
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=10, options=FAST)
        stream.width, stream.height, stream.pix_fmt = 320, height, "yuv420p"
        for _ in range(5):
            rgb = av.VideoFrame.from_ndarray(solid(colour, 320, height), "rgb24")
            file.mux(stream.encode(rgb.reformat(format="yuv420p", dst_colorspace=matrix)))
        file.mux(stream.encode(None))
    (segment,) = decode(out.getvalue())
    seen = segment.parts[0].array.reshape(-1, 3).mean(0)
    assert np.abs(seen - colour).max() <= 6


def test_a_window_ends_where_the_scene_changes() -> None:
    def paint(at: float) -> np.ndarray:
        picture = solid([(200, 40, 40), (40, 60, 200), (30, 160, 60)][(at >= 7) + (at >= 12.5)])
        picture[:, int(at * 5) % 40 : int(at * 5) % 40 + 9] = 255
        return picture

    data = video(every(40, 20_000), paint, sound=tone(20, 48_000), options=FAST)
    by_scene = Recipe(video=VideoRecipe(scenes=True, overlap_ms=1_000))
    spans = [(s.locator.start_ms, s.locator.end_ms) for s in decode(data, by_scene)]
    assert spans == [(0, 7000), (7000, 13_000), (13_000, pytest.approx(20_000, abs=60))]
    assert len(decode(data)) == 1
    long_scenes = Recipe(video=VideoRecipe(scenes=True, scene_min_ms=9_000))
    assert [s.locator.start_ms for s in decode(data, long_scenes)] == [0, 13_000]
    short = Recipe(video=VideoRecipe(scenes=True, window_ms=5_000, overlap_ms=2_000))
    assert [s.locator.start_ms for s in decode(data, short)] == [0, 3000, 7000, 10_000, 13_000, 16_000]


def rotated(data: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """The file with a rotation in its track header, as telephones write it."""
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    return data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :]


@pytest.mark.parametrize(
    ("matrix", "corner"), [((0, 1, -1, 0), (0, -1)), ((-1, 0, 0, -1), (-1, -1)), ((0, -1, 1, 0), (-1, 0))]
)
def test_rotation_of_the_track_is_applied(matrix: tuple[int, int, int, int], corner: tuple[int, int]) -> None:
    picture = solid((0, 0, 0), 128, 64)
    picture[:24, :48] = 255
    data = rotated(video(every(100, 1000), lambda _: picture, options=FAST), matrix)
    (segment,) = decode(data, frame=ImageInput(fit="contain", side=64))
    array = segment.parts[0].array
    assert (array.shape[0] > array.shape[1]) == (matrix[0] == 0)
    corners = {(y, x): int(array[y, x].mean()) for y in (0, -1) for x in (0, -1)}
    assert corners.pop(corner) > 200
    assert max(corners.values()) < 50


def test_an_audio_file_with_a_cover_gives_audio_segments() -> None:
    assert {s.modality for s in decode(audio("mp4", "aac", tone(2, 48_000), 48_000))} == {Modality.AUDIO}
    assert {s.modality for s in decode(audio("matroska", "flac", tone(2, 48_000), 48_000))} == {
        Modality.AUDIO
    }
    out = io.BytesIO()
    with av.open(out, "w", format="mp3") as file:
        voice = file.add_stream("libmp3lame", rate=44_100)
        cover = file.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 32, 32, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        file.mux(
            cover.encode(
                av.VideoFrame.from_ndarray(solid((9, 9, 9), 32, 32), "rgb24").reformat(format="yuvj420p")
            )
        )
        file.mux(cover.encode(None))
        frame = av.AudioFrame.from_ndarray(tone(2)[None], "s16", "mono")
        frame.sample_rate = 44_100
        resampler = av.AudioResampler(voice.format.name, voice.layout.name, 44_100, frame_size=1152)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            file.mux(voice.encode(piece))
        file.mux(voice.encode(None))
    assert {s.modality for s in decode(out.getvalue())} == {Modality.AUDIO}


def test_windows_leave_before_the_file_is_read() -> None:
    class CountingFile(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

    noise = np.random.default_rng(0).integers(0, 255, (7, 96, 128, 3)).astype(np.uint8)
    data = video(every(100, 90_000), lambda at: noise[int(at * 10) % 7], "matroska", options=FAST)
    file = CountingFile(data)
    next(decode_video(file, Recipe(video=VideoRecipe(window_ms=4000)), card()))
    assert len(data) > 6 << 20
    assert file.taken < len(data) / 3


@pytest.mark.parametrize(("container", "codec", "voice"), [f for f in FORMATS if f[0] != "mpegts"])
def test_a_file_cut_in_half_is_corrupt(container: str, codec: str, voice: str) -> None:
    data = video(every(40, 6000), counting, container, codec, tone(6, 48_000), voice, options(codec))
    assert fails(data[: len(data) // 2]).code is ErrorCode.CORRUPT


@pytest.mark.parametrize(
    ("container", "codec", "muxer"),
    [("avi", "mpeg4", {}), ("mp4", "libx264", {"movflags": "frag_keyframe+empty_moov"})],
)
def test_a_cut_is_found_where_no_length_is_declared(
    container: str, codec: str, muxer: dict[str, str]
) -> None:
    coding = {**options(codec), "g": "25"}
    data = video(every(40, 6000), counting, container, codec, options=coding, muxer=muxer)
    assert decode(data)[0].locator.end_ms == pytest.approx(6000, abs=60)
    assert decode(data + b"\x07junk" * 99)[0].locator.end_ms == pytest.approx(6000, abs=60)
    assert fails(data[: len(data) * 2 // 3]).code is ErrorCode.CORRUPT


@pytest.mark.parametrize(("container", "codec", "voice"), FORMATS)
def test_damage_never_shortens_a_video_silently(container: str, codec: str, voice: str) -> None:
    data = video(every(40, 5000), counting, container, codec, tone(5, 48_000), voice, options(codec))
    for seed in range(4):
        result = tried(broken(data, 40, seed))
        assert result is ErrorCode.CORRUPT or result[-1].locator.end_ms > 4400


def test_bad_inputs_are_named() -> None:
    assert fails(b"").code is ErrorCode.EMPTY
    assert fails(b"\x00not a film\xff" * 99).code in (ErrorCode.CORRUPT, ErrorCode.UNSUPPORTED)
    data = video(every(40, 2000), counting, options=FAST)
    assert fails(data, Recipe(video=VideoRecipe(max_pixels=64 * 48 - 1))).code is ErrorCode.LIMIT
    assert fails(data, Recipe(video=VideoRecipe(max_hours=1 / 3600))).code is ErrorCode.LIMIT
    assert fails(data, modalities=(Modality.IMAGE,)).code is ErrorCode.MODALITY
    assert fails(data, frame=None).code is ErrorCode.MODALITY
