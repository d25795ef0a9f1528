"""Fetching reads what is granted, checks what arrives, and turns every failure into a coded reason."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from operators.sources.fetch import SMALL_BYTES, Fetched, Fetcher, Wanted
from operators.storage import Storage, join
from schemas.errors import AssetError, ErrorCode, Stage


def fetcher(place: str, *roots: str, max_bytes: int = 1 << 40) -> Fetcher:
    return Fetcher(storage=Storage(), grants={place: (place, *roots)}, max_bytes=max_bytes)


def wanted(place: str, name: str, data: bytes) -> Wanted:
    Storage().put(join(place, name), data)
    return Wanted(join(place, name), place, len(data))


def test_small_and_large_assets_arrive_whole_and_in_order(place: str) -> None:
    bodies = [b"small", os.urandom(SMALL_BYTES + 7), b"", b"last"]
    assets = [wanted(place, f"{i}.bin", body) for i, body in enumerate(bodies)]
    found = list(fetcher(place).fetch_all(assets))
    assert [index for index, _ in found] == [0, 1, 2, 3]
    for body, (_, fetched) in zip(bodies, found, strict=True):
        assert isinstance(fetched, Fetched)
        assert fetched.file.read() == body
        assert fetched.content_hash == hashlib.sha256(body).hexdigest()


def test_names_that_look_like_patterns_are_read_as_they_are(place: str) -> None:
    names = ["a[1].txt", "b*c.txt", "what?.txt", "50% off #1 é.txt", "plain.txt"]
    found = list(fetcher(place).fetch_all([wanted(place, name, name.encode()) for name in names]))
    assert [f.file.read().decode() for _, f in found if isinstance(f, Fetched)] == names


def code(found: Fetched | AssetError) -> ErrorCode:
    assert isinstance(found, AssetError)
    assert found.stage is Stage.FETCH
    return found.code


def test_one_missing_object_costs_one_object(place: str) -> None:
    assets = [wanted(place, "a", b"a"), Wanted(join(place, "gone"), place, 4), wanted(place, "b", b"b")]
    found = [item for _, item in fetcher(place).fetch_all(assets)]
    assert isinstance(found[0], Fetched)
    assert code(found[1]) is ErrorCode.NOT_FOUND
    assert isinstance(found[2], Fetched)


@pytest.mark.parametrize("size", [3, SMALL_BYTES + 3])
def test_another_size_than_listed_is_changed_while_reading(place: str, size: int) -> None:
    asset = wanted(place, "a", b"x" * size)
    stale = Wanted(asset.uri, place, size - 1)
    ((_, found),) = fetcher(place).fetch_all([stale])
    assert code(found) is ErrorCode.CHANGED


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "http://169.254.169.254/latest/meta-data", "s3://other/secret"]
)
def test_nothing_outside_the_grants_is_read(tmp_path: Path, uri: str) -> None:
    for size in (None, 10):
        ((_, found),) = fetcher(str(tmp_path)).fetch_all([Wanted(uri, str(tmp_path), size)])
        assert code(found) is ErrorCode.SOURCE_NOT_ALLOWED


def test_dots_and_links_do_not_lead_out(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    (tmp_path / "secret").write_text("s")
    (inside / "link").symlink_to(tmp_path / "secret")
    for name in ("../secret", "link"):
        ((_, found),) = fetcher(str(inside)).fetch_all([Wanted(f"{inside}/{name}", str(inside), 1)])
        assert code(found) is ErrorCode.SOURCE_NOT_ALLOWED


def test_a_sibling_with_the_same_prefix_is_outside(tmp_path: Path) -> None:
    (tmp_path / "data-private").mkdir()
    (tmp_path / "data-private" / "x").write_text("s")
    ((_, found),) = fetcher(str(tmp_path / "data")).fetch_all(
        [Wanted(str(tmp_path / "data-private" / "x"), str(tmp_path / "data"), 1)]
    )
    assert code(found) is ErrorCode.SOURCE_NOT_ALLOWED


def test_an_asset_over_the_recipe_s_size_is_not_read(place: str) -> None:
    asset = wanted(place, "a", b"x" * (SMALL_BYTES + 1))
    ((_, found),) = fetcher(place, max_bytes=SMALL_BYTES).fetch_all([asset])
    assert code(found) is ErrorCode.TOO_LARGE


def test_a_document_s_reference_is_resolved_beside_it_and_under_its_grants(place: str) -> None:
    wanted(place, "images/x.png", b"pixels")
    manifest = join(place, "docs/manifest.jsonl")
    document = Wanted(f"{manifest}#a/b", manifest, None, b"{}")
    reader = Fetcher(storage=Storage(), grants={manifest: (place,)}, max_bytes=1 << 40)
    assert reader.fetch_reference("../images/x.png", document).file.read() == b"pixels"
    with pytest.raises(AssetError) as error:
        reader.fetch_reference("../../../secret", document)
    assert error.value.code is ErrorCode.SOURCE_NOT_ALLOWED


@pytest.mark.usefixtures("s3_environment")
def test_neighbours_on_disk_and_on_s3_are_each_read_from_their_own_storage(
    tmp_path: Path, bucket: str
) -> None:
    disk, s3 = str(tmp_path), f"s3://{bucket}"
    assets = [
        wanted(place, f"{i}.txt", f"{place} {i}".encode()) for i, place in enumerate([disk, s3, disk, s3])
    ]
    reader = Fetcher(storage=Storage(), grants={disk: (disk,), s3: (s3,)}, max_bytes=1 << 40)
    bodies = [
        found.file.read().decode() for _, found in reader.fetch_all(assets) if isinstance(found, Fetched)
    ]
    assert bodies == [f"{disk} 0", f"{s3} 1", f"{disk} 2", f"{s3} 3"]


def test_an_asset_of_unknown_size_is_read_no_further_than_the_recipe_s_size(place: str) -> None:
    wanted(place, "big", b"x" * 1001)
    wanted(place, "fits", b"x" * 1000)
    assets = [Wanted(join(place, name), place, None) for name in ("big", "fits")]
    found = [item for _, item in fetcher(place, max_bytes=1000).fetch_all(assets)]
    assert code(found[0]) is ErrorCode.TOO_LARGE
    assert isinstance(found[1], Fetched)
    assert found[1].size == 1000


def test_a_small_asset_over_the_recipe_s_size_is_not_read(place: str) -> None:
    ((_, found),) = fetcher(place, max_bytes=10).fetch_all([wanted(place, "a", b"x" * 11)])
    assert code(found) is ErrorCode.TOO_LARGE
