"""Compressed files are decoded as what they hold, within limits; zips are checked before anything reads them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import tracemalloc
import zipfile
from collections.abc import Callable

import pyarrow as pa
import pytest

from operators.decode.registry import decode
from operators.decode.unpack import open_zip, unpacked, zip_member
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe, UnpackRecipe
from tests.operators.decode.pages import Words, make_card
from tests.operators.decode.texts import SAMPLES, decoded, failure, opener, png, zipped
from tests.operators.sources.test_archive import make_zip, with_wide_record


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("name", ["rows.jsonl", "guide.md", "letter.docx"])
def test_a_compressed_file_is_decoded_as_what_it_holds(suffix: str, name: str) -> None:
    packed = PACKERS[suffix](SAMPLES[name])
    for full in (f"{name}.{suffix}", f"https://host/{name}.{suffix.upper()}?v=1"):
        assert [s.text for s in decoded(packed, full)] == [s.text for s in decoded(SAMPLES[name], name)]


def test_a_hash_in_a_compressed_file_s_name_is_part_of_it() -> None:
    text = b"a,b\n1,2\n"
    assert [s.text for s in decoded(gzip.compress(text), "/C#.gz#1.csv.gz")] == ["a: 1\nb: 2"]


@pytest.mark.parametrize("suffix", PACKERS)
def test_streams_one_after_another_are_all_read(suffix: str) -> None:
    packed = PACKERS[suffix](b"one ") + PACKERS[suffix](b"two")
    assert decoded(packed)[0].text == "one two"


def test_a_compressed_picture_is_a_picture() -> None:
    media, segments = decode(
        io.BytesIO(gzip.compress(png())), "a.gz", Recipe(), make_card(), Words(), opener({})
    )
    assert media.mime == "image/png"
    assert len(list(segments)) == 1


@pytest.mark.parametrize(
    ("suffix", "damage"),
    [*((suffix, "cut") for suffix in PACKERS), ("gz", "flipped"), ("bz2", "flipped"), ("xz", "flipped")],
)
def test_a_damaged_one_is_corrupt(suffix: str, damage: str) -> None:
    packed = bytearray(PACKERS[suffix](random.Random(1).randbytes(5000).hex().encode()))
    if damage == "cut":
        packed = packed[: len(packed) // 2]
    else:
        packed[len(packed) // 2] ^= 0x55
    assert failure(bytes(packed)).code is ErrorCode.CORRUPT


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_bomb_is_refused(suffix: str) -> None:
    packed = PACKERS[suffix](bytes(40 << 20))
    error = failure(packed)
    assert error.code is ErrorCode.LIMIT
    assert "unpacks to" in error.detail
    assert "of more than 1000 bytes" in failure(packed, unpack=UnpackRecipe(max_bytes=1000)).detail


def test_compression_within_compression_and_nothing_within_are_named() -> None:
    error = failure(gzip.compress(bz2.compress(b"x")))
    assert (error.code, "unpack it once" in error.detail) == (ErrorCode.UNSUPPORTED, True)
    assert failure(gzip.compress(b"")).code is ErrorCode.EMPTY


def test_the_temporary_copy_is_closed_with_the_segments() -> None:
    spool = unpacked(io.BytesIO(gzip.compress(b"x")), "gzip", UnpackRecipe())
    assert spool.read() == b"x"
    _, segments = decode(io.BytesIO(gzip.compress(b"x")), "a", Recipe(), make_card(), Words(), opener({}))
    assert len(list(segments)) == 1


def test_an_xz_that_wants_more_memory_than_any_preset_is_corrupt() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 28}]
    packed = lzma.compress(b"x" * 100, filters=filters)
    assert failure(packed).code is ErrorCode.CORRUPT


def test_a_zip_is_refused_by_its_directory() -> None:
    good = zipped({"a": b"x" * 100, "b": b"y"})
    assert open_zip(io.BytesIO(good), UnpackRecipe()).namelist() == ["a", "b"]
    locked = bytearray(good)
    for mark, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        locked[locked.index(mark) + at] |= 1
    for data, limits, code in (
        (good, UnpackRecipe(max_bytes=50), ErrorCode.LIMIT),
        (good, UnpackRecipe(max_members=1), ErrorCode.LIMIT),
        (good[:-30], UnpackRecipe(), ErrorCode.CORRUPT),
        (bytes(locked), UnpackRecipe(), ErrorCode.ENCRYPTED),
    ):
        with pytest.raises(AssetError) as caught:
            open_zip(io.BytesIO(data), limits)
        assert caught.value.code is code


def test_the_64_bit_record_counts_too() -> None:
    lying = with_wide_record(zipped({"a": b"x"}), 20_000, 46)
    with pytest.raises(AssetError, match="20000 members"):
        open_zip(io.BytesIO(lying), UnpackRecipe())


def test_members_are_counted_whatever_the_record_says() -> None:
    good = zipped({str(n): b"x" for n in range(30)})
    at = good.rindex(b"PK\5\6")
    lying = good[: at + 8] + b"\1\0\1\0" + good[at + 12 :]
    with pytest.raises(AssetError, match="30 members"):
        open_zip(io.BytesIO(lying), UnpackRecipe(max_members=20))


def test_an_office_zip_of_another_compression_is_unsupported() -> None:
    with pytest.raises(AssetError, match="compression method 12") as caught:
        open_zip(io.BytesIO(make_zip({"a": b"x"}, zipfile.ZIP_BZIP2)), UnpackRecipe())
    assert caught.value.code is ErrorCode.UNSUPPORTED


def test_a_member_larger_than_its_directory_says_is_never_held() -> None:
    good = make_zip({"a": bytes(60 << 20)})
    at = good.index(b"PK\1\2") + 24
    lying = good[:at] + (100).to_bytes(4, "little") + good[at + 4 :]
    tracemalloc.start()
    with open_zip(io.BytesIO(lying), UnpackRecipe()) as archive, pytest.raises(AssetError):
        zip_member(archive, "a")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20


def test_a_zip_of_anything_else_is_no_office_file() -> None:
    error = failure(zipped({"a.txt": "x"}), "letter.docx")
    assert (error.code, "ZIP" in error.detail) == (ErrorCode.UNSUPPORTED, True)
