"""Fetching reads what is granted, checks what arrives, and turns every failure into a coded reason."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from jobs.demo.server import S3Server
from operators import disk
from operators.faults import Read, StorageFault
from operators.sources.fetch import SMALL_BYTES, Fetcher, Wanted
from operators.sources.listing import list_source
from operators.sources.spool import Fetched
from operators.storage import Storage, join
from schemas.config import StorageConfig
from schemas.errors import AssetError, ErrorCode, SourceError, Stage
from tests.faulty import INTERNAL, KINDS, RESET, SLOW_DOWN, TRUNCATED, FaultyProxy
from tests.operators.sources.canned import Answer, Canned, canned, refusal


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


def test_another_version_than_listed_is_changed_while_reading(place: str) -> None:
    bodies = {"small": b"old", "large": b"x" * (SMALL_BYTES + 3)}
    for name, body in bodies.items():
        wanted(place, name, body)
    rows = list_source(place, Storage()).table.to_pylist()
    for name, body in bodies.items():
        wanted(place, name, body[::-1].replace(b"x", b"y"))
    assets = [Wanted(r["uri"], place, r["size"], None, r["etag"]) for r in rows]
    assert [code(found) for _, found in fetcher(place).fetch_all(assets)] == [ErrorCode.CHANGED] * 2
    now = list_source(place, Storage()).table.to_pylist()
    again = [Wanted(r["uri"], place, r["size"], None, r["etag"]) for r in now]
    assert all(isinstance(found, Fetched) for _, found in fetcher(place).fetch_all(again))


def test_an_etag_that_a_manifest_made_up_is_no_reason_to_refuse_the_object(place: str) -> None:
    asset = wanted(place, "a", b"abc")
    manifest = join(place, "m.csv")
    ((_, found),) = fetcher(manifest, place).fetch_all([Wanted(asset.uri, manifest, 3, None, "version 7")])
    assert isinstance(found, Fetched)


def test_a_file_that_grows_while_it_is_read_is_changed_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * (disk.BLOCK_BYTES + 1))
    blocks = disk.blocks(Read(str(path)))
    next(blocks)
    with path.open("ab") as file:
        file.write(b"more")
    with pytest.raises(StorageFault, match="changed while it was read"):
        list(blocks)


@pytest.mark.parametrize("size", [None, 0])
def test_a_pipe_a_socket_and_a_device_are_refused_and_do_not_block(tmp_path: Path, size: int | None) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assets = [Wanted(f"{tmp_path}/{name}", str(tmp_path), size) for name in ("pipe", "socket")]
        assets.append(Wanted("/dev/zero", "/dev", size))
        reader = Fetcher(
            storage=Storage(), grants={str(tmp_path): (str(tmp_path),), "/dev": ("/dev",)}, max_bytes=9
        )
        found = [item for _, item in reader.fetch_all(assets)]
    assert [code(item) for item in found] == [ErrorCode.NOT_FOUND] * 3
    assert all("not a file" in item.detail for item in found if isinstance(item, AssetError))


@pytest.mark.parametrize("seed", range(2))
def test_assets_arrive_whole_from_a_faulty_s3(s3_environment: S3Server, bucket: str, seed: int) -> None:
    place = f"s3://{bucket}"
    bodies = {f"{n:02d}": os.urandom(n * 1000) for n in range(30)} | {"large": os.urandom(SMALL_BYTES * 5)}
    for name, body in bodies.items():
        wanted(place, name, body)
    with FaultyProxy(s3_environment.endpoint, seed=seed, rate=0.4) as proxy:
        storage = Storage(StorageConfig(endpoint_url=proxy.url, attempts=8))
        rows = list_source(place, storage).table.to_pylist()
        assets = [Wanted(r["uri"], place, r["size"], None, r["etag"]) for r in rows]
        reader = Fetcher(storage=storage, grants={place: (place,)}, max_bytes=1 << 40)
        found = {rows[i]["uri"]: item for i, item in reader.fetch_all(assets)}
    assert {kind for _, kind in proxy.injected} == set(KINDS)
    assert {uri: item.file.read() for uri, item in found.items() if isinstance(item, Fetched)} == {
        join(place, name): body for name, body in bodies.items()
    }


@pytest.mark.parametrize("kind", [TRUNCATED, RESET, SLOW_DOWN, INTERNAL])
def test_an_asset_that_storage_never_gives_whole_is_a_storage_failure(
    s3_environment: S3Server, bucket: str, kind: str
) -> None:
    place = f"s3://{bucket}"
    rows = [wanted(place, "small", b"x" * 1000), wanted(place, "large", b"x" * (SMALL_BYTES + 1))]
    listed = {r["uri"]: r["etag"] for r in list_source(place, Storage()).table.to_pylist()}
    with FaultyProxy(s3_environment.endpoint, seed=0, rate=1, kinds=(kind,), most_in_a_row=99) as proxy:
        storage = Storage(StorageConfig(endpoint_url=proxy.url, attempts=2))
        reader = Fetcher(storage=storage, grants={place: (place,)}, max_bytes=1 << 40)
        assets = [Wanted(r.uri, place, r.size, None, listed[r.uri]) for r in rows]
        found = [item for _, item in reader.fetch_all(assets)]
    for asset, item in zip(assets, found, strict=True):
        assert code(item) is ErrorCode.STORAGE
        assert isinstance(item, AssetError)
        assert item.detail.startswith(asset.uri)
        assert "(2 tries); the next run tries it again" in item.detail


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def from_server(server: Canned) -> Fetcher:
    return Fetcher(storage=server.storage(attempts=2), grants={"s3://b": ("s3://b",)}, max_bytes=1 << 20)


@pytest.mark.usefixtures("keys")
def test_a_body_shorter_than_listed_under_the_same_etag_is_asked_for_again() -> None:
    answers = iter([Answer(200, b"sho", {"ETag": '"e"'}), Answer(200, b"short", {"ETag": '"e"'})])
    with canned(lambda *_: next(answers)) as server:
        ((_, found),) = from_server(server).fetch_all([Wanted("s3://b/a", "s3://b", 5, None, "e")])
    assert isinstance(found, Fetched)
    assert found.file.read() == b"short"


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(("status", "refused"), [(400, "ExpiredToken"), (403, "SignatureDoesNotMatch")])
def test_refused_credentials_end_the_run_in_one_line(status: int, refused: str) -> None:
    assets = [Wanted(f"s3://b/{n}", "s3://b", 5, None, "e") for n in range(100)]
    with (
        canned(lambda *_: refusal(status, refused)) as server,
        pytest.raises(SourceError, match=refused) as error,
    ):
        list(from_server(server).fetch_all(assets))
    assert "\n" not in str(error.value)
    assert "s3://b/" in str(error.value)


@pytest.mark.usefixtures("keys")
def test_one_key_that_no_signature_fits_costs_one_asset() -> None:
    def answer(method: str, path: str) -> Answer:
        if "odd" in path:
            return refusal(403, "SignatureDoesNotMatch")
        listing = b"<ListBucketResult></ListBucketResult>"
        return Answer(200, listing if "list-type" in path else b"x", {"ETag": '"e"'})

    with canned(answer) as server:
        assets = [Wanted(f"s3://b/{name}", "s3://b", 1, None, "e") for name in ("a", "odd", "z")]
        found = [item for _, item in from_server(server).fetch_all(assets)]
    assert [isinstance(item, Fetched) for item in found] == [True, False, True]
    assert code(found[1]) is ErrorCode.ACCESS_DENIED
