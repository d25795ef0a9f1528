"""PCM by arithmetic: what libsndfile reads of sound files, and nothing of those that lie."""

from __future__ import annotations

import io
import struct
from typing import BinaryIO

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.decode import sndfile
from operators.decode.audio import decode_audio
from operators.decode.resample import BLOCK
from operators.decode.wav import Wav, read_wav
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe
from tests.operators.decode.clips import RATE, audio, card, tone

SOUND = audio("wav", "pcm_s16le", tone(1, RATE), RATE)
DATA = SOUND.index(b"data")
"""Where the header of the samples is; that of the format starts at 12, and what it says at 20."""


def pcm(subtype: str, channels: int, rate: int = RATE, form: str = "WAV", frames: int = BLOCK + 99) -> bytes:
    samples = np.random.default_rng(0).integers(-32768, 32768, (frames, channels)).astype(np.int16)
    out = io.BytesIO()
    soundfile.write(out, samples, rate, subtype, format=form)
    return out.getvalue()


def found(file: BinaryIO) -> Wav:
    wav = read_wav(file)
    assert wav is not None
    return wav


def heard(data: bytes, rate: int = RATE) -> np.ndarray:
    file = io.BytesIO(data)
    return np.concatenate(list(found(file).samples(file, rate)))


def others(data: bytes) -> int | ErrorCode:
    """The samples that any decoder finds."""
    try:
        return sum(len(s.parts[0].array) for s in decode_audio(io.BytesIO(data), Recipe(), card()))
    except AssetError as error:
        return error.code


def patched(at: int, value: bytes) -> bytes:
    return SOUND[:at] + value + SOUND[at + len(value) :]


@pytest.mark.parametrize("form", ["WAV", "WAVEX"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32"])
def test_samples_are_those_that_libsndfile_reads(subtype: str, channels: int, form: str) -> None:
    data = pcm(subtype, channels, form=form)
    for rate in (RATE, 44_100):
        expected = np.concatenate(list(sndfile.samples(io.BytesIO(data), rate)))
        assert np.array_equal(heard(data, rate), expected)


def test_a_file_on_disk_is_read_as_one_in_memory(tmp_path) -> None:
    data = pcm("PCM_16", 1)
    (tmp_path / "a.wav").write_bytes(data)
    with open(tmp_path / "a.wav", "rb") as file:
        assert np.array_equal(np.concatenate(list(found(file).samples(file, RATE))), heard(data))


def test_sixteen_bits_at_the_wanted_rate_are_a_view_of_the_file() -> None:
    file = io.BytesIO(SOUND)
    (samples,) = found(file).samples(file, RATE)
    assert np.shares_memory(samples, np.frombuffer(file.getvalue(), np.uint8))


@pytest.mark.parametrize("before", [b"", b"LIST\x05\0\0\0abcde\0", b"JUNK\0\0\0\0" * 40])
def test_other_chunks_around_the_sound_are_passed_over(before: bytes) -> None:
    inside = SOUND[12:DATA] + before + SOUND[DATA:] + b"id3 \x04\0\0\0abcd"
    data = b"RIFF" + struct.pack("<I", len(inside) + 4) + b"WAVE" + inside
    assert np.array_equal(heard(data), heard(SOUND))


def test_the_length_is_that_of_the_samples() -> None:
    assert (found(io.BytesIO(SOUND)).length_us, len(heard(SOUND))) == (1_000_000, RATE)


LIES = {
    "no bytes": b"",
    "a head alone": SOUND[:12],
    "cut off": SOUND[:-2],
    "another RIFF": patched(8, b"AVI "),
    "a RIFF of 4 GB": patched(4, b"\xff\xff\xff\xef"),
    "a RIFF of unknown size": patched(4, b"\xff" * 4),
    "an empty RIFF": patched(4, bytes(4)),
    "a format of 2 GB": patched(16, b"\xff\xff\xff\x7f"),
    "no format": patched(12, b"junk"),
    "a format of no bytes": patched(16, bytes(4)),
    "floats": patched(20, b"\3\0"),
    "MP3": patched(20, b"\x55\0"),
    "an extensible format without the rest": patched(20, b"\xfe\xff"),
    "no channels": patched(22, bytes(2)),
    "65,535 channels": patched(22, b"\xff\xff"),
    "another number of channels": patched(22, b"\2\0"),
    "a rate of 0": patched(24, bytes(4)),
    "a rate of 4 GHz": patched(24, b"\xff" * 4),
    "other bytes a second": patched(28, b"\1\0\0\0"),
    "frames of 0 bytes": patched(32, bytes(2)),
    "frames of 7 bytes": patched(32, b"\7\0"),
    "0 bits": patched(34, bytes(2)),
    "12 bits": patched(34, b"\x0c\0"),
    "samples of 4 GB": patched(DATA + 4, b"\xff" * 4),
    "no samples": patched(DATA + 4, bytes(4)),
    "half a sample": patched(DATA + 4, b"\x65\0\0\0"),
    "no data": patched(DATA, b"junk"),
    "sound in sound": patched(DATA + 100, b"\xfe\x7f\x01\x80"),
    "S/PDIF": patched(DATA + 1000, b"\x72\xf8\x1f\x4e"),
    "two formats": SOUND[:DATA] + SOUND[12:],
    "ten thousand chunks": SOUND[:12] + b"JUNK\0\0\0\0" * 10_000 + SOUND[12:],
}


@pytest.mark.parametrize("what", LIES)
def test_a_header_that_lies_is_left_to_others_who_say_what_it_is(what: str) -> None:
    assert read_wav(io.BytesIO(LIES[what])) is None
    result = others(LIES[what])
    assert isinstance(result, ErrorCode) or result <= 2 * RATE


def test_a_second_a_sample_would_be_resampled_to_gigabytes_and_is_left_to_a_child() -> None:
    assert read_wav(io.BytesIO(patched(24, struct.pack("<II", 1, 2)))) is None


@given(
    flips=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=4),
    size=st.integers(0, len(SOUND)),
    width=st.sampled_from([0, 2, 4]),
)
@settings(max_examples=600, deadline=None)
def test_whatever_a_header_says_no_byte_outside_the_file_is_heard(
    flips: list[tuple[int, int]], size: int, width: int
) -> None:
    data = bytearray(SOUND[:size] if width == 0 else SOUND)
    for at, value in flips:
        data[at : at + max(1, width)] = bytes([value]) * max(1, width) if at < len(data) else b""
    file = io.BytesIO(bytes(data))
    wav = read_wav(file)
    if wav is not None:
        assert wav.at + wav.frames * wav.channels * wav.width <= len(data)
        assert sum(map(len, wav.samples(file, wav.rate))) == wav.frames


def test_a_file_that_became_shorter_is_corrupt() -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(size) if self.tell() < 1000 else b""

    with pytest.raises(AssetError) as caught:
        list(decode_audio(Shrinking(pcm("PCM_16", 2, frames=3 * BLOCK)), Recipe(), card()))
    assert caught.value.code is ErrorCode.CORRUPT
