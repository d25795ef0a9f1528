"""Members of zips and tars come out whole or with their own reason; a hostile archive ends and says why."""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.sources import archive
from operators.sources.archive import Member, archive_kind, members
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import ArchiveRecipe

FILES = {"a.txt": b"first", "deep/er/b.bin": bytes(range(256)) * 9, "empty": b"", "ü ?#.txt": b"odd name"}


def make_tar(files: dict[str, bytes], mode: str = "w", form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode, format=form) as made:  # type: ignore[call-overload]
        for name, body in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(body), 1_000_000_000
            made.addfile(info, io.BytesIO(body))
    return out.getvalue()


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as made:
        for name, body in files.items():
            made.writestr(name, body)
    return out.getvalue()


MAKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "zip": make_zip,
    "tar": make_tar,
    "tar+gzip": lambda files: make_tar(files, "w:gz"),
    "tar+bzip2": lambda files: make_tar(files, "w:bz2"),
    "tar+xz": lambda files: make_tar(files, "w:xz"),
    "tar+zstd": lambda files: pa.compress(make_tar(files), codec="zstd", asbytes=True),
}


def opened(body: bytes, recipe: ArchiveRecipe | None = None, max_bytes: int = 1 << 30) -> Iterator[Member]:
    file = io.BytesIO(body)
    kind = archive_kind(file)
    assert kind is not None
    return members(file, kind, len(body), recipe or ArchiveRecipe(), max_bytes)


def contents(found: Iterator[Member]) -> dict[str, bytes | ErrorCode]:
    return {
        one.name: one.body.code if isinstance(one.body, AssetError) else one.body.file.read() for one in found
    }


@pytest.mark.parametrize("kind", MAKERS)
def test_every_member_comes_out_with_its_bytes(kind: str) -> None:
    body = MAKERS[kind](FILES)
    assert archive_kind(io.BytesIO(body)) == kind
    assert contents(opened(body)) == FILES


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tars_of_every_age_are_known(form: int) -> None:
    assert contents(opened(make_tar({"x" * 90: b"1"}, form=form))) == {"x" * 90: b"1"}


def test_a_tar_without_a_magic_is_known_by_its_checksum() -> None:
    body = bytearray(make_tar({"a": b"old"}, form=tarfile.USTAR_FORMAT))
    body[257:265] = bytes(8)
    body[148:156] = b" " * 8
    body[148:156] = b"%06o\0 " % sum(body[:512])
    assert contents(opened(bytes(body))) == {"a": b"old"}


def test_office_files_books_and_programs_are_no_archives() -> None:
    for name in ("[Content_Types].xml", "mimetype", "META-INF/MANIFEST.MF"):
        assert archive_kind(io.BytesIO(make_zip({name: b"x", "b": b"y"}))) is None


@pytest.mark.parametrize(
    "body", [b"", b"text " * 200, bytes(2000), b"\x1f\x8b broken", b"BZh9 broken", b"II*\0" * 300]
)
def test_what_is_no_archive_is_left_to_the_decoders(body: bytes) -> None:
    assert archive_kind(io.BytesIO(body)) is None


def test_folders_links_and_devices_are_left_out() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        kinds = {"d": tarfile.DIRTYPE, "l": tarfile.SYMTYPE, "h": tarfile.LNKTYPE, "n": tarfile.CHRTYPE}
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            made.addfile(info)
        made.addfile(tarfile.TarInfo("kept"))
    assert contents(opened(out.getvalue())) == {"kept": b""}
    assert contents(opened(make_zip({"d/": b"", "__MACOSX/._a": b"x", "a": b"y"}))) == {"a": b"y"}


def test_members_of_one_name_are_told_apart() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for body in (b"one", b"two"):
            info = tarfile.TarInfo("a")
            info.size = 3
            made.addfile(info, io.BytesIO(body))
    assert contents(opened(out.getvalue())) == {"a": b"one", "a#2": b"two"}


def tar_of(*files: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, body in files:
            info = tarfile.TarInfo(name)
            info.size = len(body)
            made.addfile(info, io.BytesIO(body))
    return out.getvalue()


def test_no_two_members_have_one_name_whatever_they_are_called() -> None:
    names = ("a", "a", "a#2", "a", "a#2#2", "n!/a", "n%21/a", "!/", "x.csv", "x.csv", "x#2.csv")
    found = [one.name for one in opened(tar_of(*((name, b"x") for name in names)))]
    assert len(set(found)) == len(names)
    assert found[:3] == ["a", "a#2", "a#2#2"]
    assert found[-3:] == ["x.csv", "x#2.csv", "x#2#2.csv"], "a name's end tells its type"
    assert not any("!/" in name for name in found), "that is how the name of what lies deeper begins"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_of_every_compression_come_out(method: int) -> None:
    assert contents(opened(make_zip(FILES, method))) == FILES


def test_a_member_of_another_compression_is_unsupported() -> None:
    body = bytearray(make_zip({"odd": b"A" * 99, "good": b"B"}))
    for mark, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        body[body.index(mark) + at] = 9
    assert contents(opened(bytes(body))) == {"odd": ErrorCode.UNSUPPORTED, "good": b"B"}


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_unpacks_to_more_than_memory_is_never_held(method: int) -> None:
    body = make_zip({"bomb": bytes(100 << 20)}, method)
    tracemalloc.start()
    found = contents(opened(body, max_bytes=4 << 20))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {"bomb": ErrorCode.TOO_LARGE}
    assert peak < 40 << 20


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_is_not_what_its_directory_says_is_corrupt(method: int) -> None:
    body = make_zip({"a": b"word " * 1000}, method)
    at = body.index(b"PK\1\2")
    for offset, size in ((24, 10), (24, 5001), (16, 7)):
        lying = body[: at + offset] + size.to_bytes(4, "little") + body[at + offset + 4 :]
        assert contents(opened(lying)) == {"a": ErrorCode.CORRUPT}


def test_an_lzma_member_that_wants_gigabytes_is_corrupt() -> None:
    body = bytearray(make_zip({"a": b"word " * 1000}, zipfile.ZIP_LZMA))
    at = body.index(b"\5\0]")
    body[at + 3 : at + 7] = b"\xff\xff\xff\xff"
    assert contents(opened(bytes(body))) == {"a": ErrorCode.CORRUPT}


def test_a_sparse_member_is_unsupported_and_costs_itself() -> None:
    holes = {"GNU.sparse.map": "0,0,3221225472,0", "GNU.sparse.size": "3221225472"}
    new = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "3221225472"}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, headers in (("old", holes), ("new", new), ("kept", {})):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 3, headers
            made.addfile(info, io.BytesIO(b"abc"))
    assert contents(opened(out.getvalue())) == {
        "old": ErrorCode.UNSUPPORTED,
        "new": ErrorCode.UNSUPPORTED,
        "kept": b"abc",
    }


def test_a_gnu_sparse_header_of_any_length_is_skipped_and_never_held() -> None:
    info = tarfile.TarInfo("holes")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    head = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    head[482], head[483:495] = 1, b"%011o\0" % (3 << 30)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head[:512])
    entries = (b"%011o\0" % 8) * 42
    more = (entries + b"\1" + bytes(7)) * 20_000 + bytes(512)
    body = bytes(head) + more + tar_of(("kept", b"abc"))
    tracemalloc.start()
    found = contents(members(io.BytesIO(body), "tar", len(body), ArchiveRecipe(), 1 << 30))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == {"holes": ErrorCode.UNSUPPORTED, "kept": b"abc"}
    assert peak < 8 << 20


def test_a_tar_whose_header_is_damaged_or_cut_keeps_what_came_before_and_says_so() -> None:
    body = bytearray(tar_of(("a", b"first"), ("b", b"second"), ("c", b"third")))
    broken = bytes(body[:1024]) + b"\x07" * 512 + bytes(body[1536:])
    for damaged in (broken, bytes(body[:1300]), bytes(body[: 2048 + 100])):
        found = opened(damaged)
        assert next(found).name == "a"
        with pytest.raises(AssetError, match="damaged header") as caught:
            list(found)
        assert caught.value.code is ErrorCode.CORRUPT


def test_an_xz_that_wants_more_memory_than_any_preset_is_not_opened() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 1 << 28}]
    assert archive_kind(io.BytesIO(lzma.compress(make_tar(FILES), filters=filters))) is None


def test_a_directory_is_as_large_as_the_larger_of_its_records(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_DIRECTORY_BYTES", 1000)
    with pytest.raises(AssetError, match="zip directory of 5000 bytes"):
        list(opened(with_wide_record(make_zip({"a": b"x"}), 7, 5000)))


def with_wide_record(body: bytes, count: int, size: int) -> bytes:
    """A zip with a 64-bit end record of its own."""
    at = body.rindex(b"PK\5\6")
    record = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, 0)
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, at, 1)
    return body[:at] + record + locator + body[at:]


def test_a_damaged_or_encrypted_member_costs_itself() -> None:
    body = bytearray(make_zip({"bad": b"A" * 99, "good": b"B"}, zipfile.ZIP_STORED))
    body[body.index(b"A" * 99)] ^= 1
    assert contents(opened(bytes(body))) == {"bad": ErrorCode.CORRUPT, "good": b"B"}
    locked = bytearray(make_zip({"secret": b"A", "good": b"B"}))
    locked[locked.index(b"PK\1\2") + 8] |= 1
    assert contents(opened(bytes(locked))) == {"secret": ErrorCode.ENCRYPTED, "good": b"B"}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_member_over_the_recipe_s_size_costs_itself(kind: str) -> None:
    body = MAKERS[kind]({"large": b"x" * 2000, "small": b"y"})
    assert contents(opened(body, max_bytes=1000)) == {"large": ErrorCode.TOO_LARGE, "small": b"y"}


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "tar"])
def test_a_bomb_is_given_up_at_its_ratio(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_FREE_BYTES", 1 << 20)
    body = MAKERS[kind]({"small": b"1", **{str(n): bytes(1 << 20) for n in range(40)}})
    found = opened(body, ArchiveRecipe(max_ratio=10))
    assert next(found).name == "small"
    with pytest.raises(AssetError, match="come out of it") as error:
        list(found)
    assert error.value.code is ErrorCode.LIMIT


def test_members_beyond_the_recipe_s_number_are_not_read() -> None:
    found = opened(make_zip({str(n): b"" for n in range(5)}), ArchiveRecipe(max_members=3))
    with pytest.raises(AssetError, match="more than 3 members"):
        list(found)


def test_headers_that_would_fill_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    long = make_tar({"a": b"1", "n" * 3_000_000: b"2"}, form=tarfile.GNU_FORMAT)
    with pytest.raises(AssetError, match="extended header of 3000001 bytes"):
        list(opened(long))
    monkeypatch.setattr(archive, "_DIRECTORY_BYTES", 100)
    with pytest.raises(AssetError, match="zip directory"):
        list(opened(make_zip({"x" * 200: b""})))


@given(st.sampled_from(sorted(MAKERS)), st.data())
def test_a_damaged_archive_ends_with_a_reason(kind: str, data: st.DataObject) -> None:
    body = bytearray(MAKERS[kind](FILES))
    if data.draw(st.booleans()):
        del body[data.draw(st.integers(0, len(body) - 1)) :]
    else:
        for at in data.draw(st.lists(st.integers(0, len(body) - 1), min_size=1, max_size=5)):
            body[at] ^= data.draw(st.integers(1, 255))
    file = io.BytesIO(bytes(body))
    found = archive_kind(file)
    if found is None:
        return
    codes: set[ErrorCode] = set()
    try:
        for member in members(file, found, len(body), ArchiveRecipe(), 1 << 20):
            codes |= {member.body.code} if isinstance(member.body, AssetError) else set()
    except AssetError as error:
        codes.add(error.code)
    reasons = {ErrorCode.CORRUPT, ErrorCode.LIMIT, ErrorCode.ENCRYPTED, ErrorCode.TOO_LARGE}
    # A damaged byte that names the compression cannot be told from a method that is not read.
    assert codes <= {*reasons, ErrorCode.UNSUPPORTED}
