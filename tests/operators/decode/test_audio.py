"""Sound: every sample in a window, bounded memory, damage named."""

from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decode.audio import decode_audio
from operators.decode.sound import SILENCE, cut, is_silent
from operators.parts import PartKind, Segment
from schemas.card import Limits, Modality
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import AudioRecipe, Recipe
from tests.operators.decode.clips import RATE, audio, broken, card, every, flash, tone, video

RECIPE = Recipe(audio=AudioRecipe(window_ms=3_000, overlap_ms=500))
FORMATS = [
    ("wav", "pcm_s16le", 44_100),
    ("wav", "pcm_u8", 8_000),
    ("mp3", "libmp3lame", 44_100),
    ("ogg", "libopus", 48_000),
    ("flac", "flac", 44_100),
    ("mp4", "aac", 48_000),
    ("adts", "aac", 22_050),
    ("matroska", "libopus", 48_000),
]


def decode(data: bytes, recipe: Recipe = RECIPE, **changes: object) -> list[Segment]:
    return list(decode_audio(io.BytesIO(data), recipe, card(**changes)))


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


@given(
    length=st.integers(1, 400), size=st.integers(1, 60), overlap=st.integers(0, 60), chunk=st.integers(1, 97)
)
@settings(max_examples=200, deadline=None)
def test_windows_cover_every_sample_and_none_is_a_sliver(
    length: int, size: int, overlap: int, chunk: int
) -> None:
    overlap = min(overlap, size // 2)
    samples = np.arange(length, dtype=np.int16)
    chunks = [samples[i : i + chunk] for i in range(0, length, chunk)]
    reached = 0
    for start, window in cut(chunks, size, overlap):
        assert np.array_equal(window, samples[start : start + len(window)])
        assert start <= reached < start + len(window) <= start + size
        assert start == 0 or reached - start == overlap
        reached = start + len(window)
    assert reached == length


@pytest.mark.parametrize(("container", "codec", "rate"), FORMATS)
def test_every_format_gives_16_khz_mono_of_the_right_length_and_pitch(
    container: str, codec: str, rate: int
) -> None:
    segments = decode(audio(container, codec, tone(7.25, rate), rate))
    assert [s.locator.start_ms for s in segments] == [0, 2500, 5000]
    assert segments[-1].locator.end_ms == pytest.approx(7250, abs=100)
    for segment in segments:
        (part,) = segment.parts
        assert (segment.modality, part.kind, part.at_ms) == (Modality.AUDIO, PartKind.AUDIO, 0)
        assert part.array.dtype == np.int16
        assert segment.locator.end_ms - segment.locator.start_ms == round(len(part.array) * 1000 / RATE)
    heard = segments[0].parts[0].array[RATE // 2 :].astype(float)
    loudest = np.abs(np.fft.rfft(heard)).argmax() * RATE / len(heard)
    assert loudest == pytest.approx(440, abs=2)
    assert np.abs(heard).max() == pytest.approx(10_000, rel=0.15)


def test_overlapping_windows_repeat_the_same_samples() -> None:
    first, second = decode(audio("flac", "flac", tone(5, RATE), RATE))[:2]
    assert np.array_equal(first.parts[0].array[-RATE // 2 :], second.parts[0].array[: RATE // 2])


def test_sixteen_khz_pcm_comes_through_unchanged() -> None:
    samples = np.random.default_rng(0).integers(-9_000, 9_000, 2 * RATE).astype(np.int16)
    (segment,) = decode(audio("wav", "pcm_s16le", samples, RATE))
    assert np.array_equal(segment.parts[0].array, samples)


@pytest.mark.parametrize(("form", "subtype"), [("WAV", "PCM_24"), ("WAV", "FLOAT"), ("FLAC", "PCM_16")])
def test_two_channels_become_their_mean(form: str, subtype: str) -> None:
    left, right = tone(2, RATE), tone(2, RATE, 880.0)
    out = io.BytesIO()
    soundfile.write(
        out, np.stack([left, right], axis=1).astype(np.float64) / 32768, RATE, subtype, format=form
    )
    (segment,) = decode(out.getvalue())
    mean = (left.astype(int) + right) // 2
    assert np.abs(segment.parts[0].array - mean).max() <= 2


def test_the_card_caps_the_window() -> None:
    data = audio("wav", "pcm_s16le", tone(4, RATE), RATE)
    segments = decode(data, limits=Limits(tokens=100, text_tokens=10, audio_ms=1_500))
    assert max(len(s.parts[0].array) for s in segments) == 1.5 * RATE
    by_tokens = decode(data, limits=Limits(tokens=25, text_tokens=10, audio_ms=1_500))
    assert max(len(s.parts[0].array) for s in by_tokens) == RATE


def test_the_sound_of_a_video_is_heard() -> None:
    data = video(every(40, 4000), flash(1), sound=tone(4, 48_000))
    assert decode(data)[-1].locator.end_ms == pytest.approx(4000, abs=60)


class CountingFile(io.BytesIO):
    """Counts the bytes that the decoder asked for."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def test_a_window_leaves_before_the_file_is_read() -> None:
    data = audio("wav", "pcm_s16le", np.zeros(600 * RATE, np.int16), RATE)
    file = CountingFile(data)
    next(decode_audio(file, RECIPE, card()))
    assert file.taken < len(data) / 20


@pytest.mark.parametrize(("container", "codec", "rate"), FORMATS)
def test_damage_never_shortens_sound_silently(container: str, codec: str, rate: int) -> None:
    noisy = tone(9, rate) + np.random.default_rng(0).integers(-999, 999, 9 * rate).astype(np.int16)
    data = broken(audio(container, codec, noisy, rate))
    result = tried(data)
    assert result is ErrorCode.CORRUPT or result[-1].locator.end_ms == pytest.approx(9000, abs=300)


@pytest.mark.parametrize(
    ("container", "codec"), [("wav", "pcm_s16le"), ("flac", "flac"), ("mp4", "aac"), ("aiff", "pcm_s16be")]
)
def test_a_file_cut_in_half_is_corrupt(container: str, codec: str) -> None:
    data = audio(container, codec, tone(6))
    assert fails(data[: len(data) // 2]).code is ErrorCode.CORRUPT


@pytest.mark.parametrize(
    "stray", [b"TAG" + b"x" * 125, b"LYRICSBEGIN" + b"la la " * 90, bytes(3000), b"junk" * 500]
)
def test_tags_and_padding_around_an_mp3_are_no_damage(stray: bytes) -> None:
    data = audio("mp3", "libmp3lame", tone(4))
    for padded in (data + stray, bytes(3000) + data + stray):
        assert decode(padded)[-1].locator.end_ms == pytest.approx(4000, abs=60)
    middle = len(data) // 2
    assert fails(data[:middle] + b"junk" * 5000 + data[middle:]).code is ErrorCode.CORRUPT


def test_bad_inputs_are_named() -> None:
    assert fails(b"").code is ErrorCode.EMPTY
    assert fails(b"\x00not a sound\xff" * 99).code in (ErrorCode.CORRUPT, ErrorCode.UNSUPPORTED)
    assert fails(audio("wav", "pcm_s16le", np.zeros(0, np.int16))).code is ErrorCode.EMPTY
    assert fails(video(every(40, 1000), flash(0))).code is ErrorCode.UNSUPPORTED
    wav = audio("wav", "pcm_s16le", tone(9))
    assert fails(wav, Recipe(audio=AudioRecipe(max_hours=8 / 3600))).code is ErrorCode.LIMIT
    assert fails(wav, modalities=(Modality.TEXT,)).code is ErrorCode.MODALITY


def test_a_playlist_opens_no_other_file(tmp_path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(audio("wav", "pcm_s16le", tone(1)))
    playlists = (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"ffconcat version 1.0\nfile '{secret}'\n",
    )
    for playlist in playlists:
        assert fails(playlist.encode()).code in (ErrorCode.UNSUPPORTED, ErrorCode.CORRUPT)


def test_an_error_of_the_storage_keeps_its_own_type() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 200_000:
                raise AssetError(ErrorCode.STORAGE, "connection reset")
            return super().read(size)

    with pytest.raises(AssetError) as caught:
        list(decode_audio(Failing(audio("wav", "pcm_s16le", tone(9))), RECIPE, card()))
    assert caught.value.code is ErrorCode.STORAGE


def level(dbfs: float, samples: int) -> np.ndarray:
    """A square wave: its RMS is its amplitude."""
    wave = np.full(samples, 32768 * 10 ** (dbfs / 20))
    wave[1::2] *= -1
    return wave.round().astype(np.int16)


@pytest.mark.parametrize(("dbfs", "silent"), [(-30, False), (-58, False), (-62, True), (-90, True)])
def test_a_tenth_of_a_second_above_the_threshold_is_heard(dbfs: float, silent: bool) -> None:
    window = np.zeros(3 * RATE, np.int16)
    window[RATE : RATE + RATE // 5] = level(dbfs, RATE // 5)
    assert is_silent(window, RATE, -60) is silent
    click = np.zeros(3 * RATE, np.int16)
    click[:5] = 500
    assert is_silent(click, RATE, -60), "half a millisecond is no sound"


@given(
    st.lists(st.booleans(), min_size=1, max_size=12),
    st.integers(300, 3_000),
    st.integers(0, 1_500),
    st.integers(100, 900),
)
@settings(max_examples=25, deadline=None)
def test_skipped_silence_and_windows_together_cover_the_recording(
    loud: list[bool], window_ms: int, overlap_ms: int, tail_ms: int
) -> None:
    rng = np.random.default_rng(0)
    pieces = [rng.integers(-3_000, 3_000, RATE) * on for on in loud] + [np.zeros(tail_ms * RATE // 1000)]
    samples = np.concatenate(pieces).astype(np.int16)
    data = audio("wav", "pcm_s16le", samples, RATE)
    plan = {"window_ms": window_ms, "overlap_ms": overlap_ms}
    every_window = decode(data, Recipe(audio=AudioRecipe(**plan)))
    kept = decode(data, Recipe(audio=AudioRecipe(**plan, skip_silence=True)))
    reached = 0
    for segment in every_window:
        start, end = segment.locator.start_ms or 0, segment.locator.end_ms or 0
        assert start <= reached < end
        reached = end
        # Locators are whole milliseconds.
        heard = samples[max(0, start - 1) * RATE // 1000 : (end + 1) * RATE // 1000]
        assert (segment.text == SILENCE) == is_silent(segment.parts[0].array, RATE, -60)
        assert segment.text == SILENCE or np.abs(heard).max() > 100
    assert reached == round(len(samples) * 1000 / RATE)
    sounding = [s.locator for s in every_window if s.text is None]
    assert [s.locator for s in kept] == (sounding or [every_window[0].locator])


def test_an_all_silent_recording_is_one_segment_when_silence_is_skipped() -> None:
    data = audio("wav", "pcm_s16le", np.zeros(20 * RATE, np.int16), RATE)
    assert len(decode(data)) == 8
    (only,) = decode(data, Recipe(audio=AudioRecipe(window_ms=3_000, skip_silence=True)))
    assert (only.locator.start_ms, only.locator.end_ms, only.text) == (0, 3000, SILENCE)
