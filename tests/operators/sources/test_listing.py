"""Listing behaves the same for folders, prefixes, objects and manifests, on disk and on S3."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.demo.server import S3Server
from operators.sources.fetch import Fetcher, Wanted
from operators.sources.listing import Listed, list_source, list_sources
from operators.storage import Storage, join
from schemas.config import StorageConfig
from schemas.errors import AssetError, ErrorCode, SourceError, UsageError
from schemas.tables import LISTING
from tests.faulty import FaultyProxy


def fill(place: str, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        Storage().put(join(place, name), data)


def test_every_object_below_a_prefix_is_listed_with_size_and_etag(place: str) -> None:
    fill(place, {"a.txt": b"one", "deep/er/b.txt": b"three", ".hidden/c.txt": b"x", "d/.DS_Store": b"x"})
    listed = list_source(place, Storage())
    assert listed.table.schema.equals(LISTING)
    assert listed.table["uri"].to_pylist() == [join(place, "a.txt"), join(place, "deep/er/b.txt")]
    assert listed.table["size"].to_pylist() == [3, 5]
    assert None not in listed.table["etag"].to_pylist()
    assert None not in listed.table["mtime"].to_pylist()


def test_a_rewritten_object_has_another_etag(place: str) -> None:
    fill(place, {"a.txt": b"one"})
    before = list_source(place, Storage()).table["etag"].to_pylist()
    fill(place, {"a.txt": b"two"})
    assert list_source(place, Storage()).table["etag"].to_pylist() != before


def test_one_object_is_a_source(place: str) -> None:
    fill(place, {"a.txt": b"one", "b.txt": b"two"})
    listed = list_source(join(place, "a.txt"), Storage())
    assert listed.table["uri"].to_pylist() == [join(place, "a.txt")]


def test_a_lake_inside_its_source_is_not_an_asset(place: str) -> None:
    fill(place, {"a.txt": b"one", "lake/catalog/1.json": b"x", "lake2/b.txt": b"y"})
    listed = list_source(place, Storage(), lake=join(place, "lake"))
    assert listed.table["uri"].to_pylist() == [join(place, "a.txt"), join(place, "lake2/b.txt")]


def test_a_missing_source_is_one_clear_error(place: str) -> None:
    with pytest.raises(SourceError, match=r"not found: .*absent"):
        list_source(join(place, "absent"), Storage())


@pytest.mark.usefixtures("s3_environment")
def test_a_missing_bucket_is_named() -> None:
    with pytest.raises(SourceError, match="bucket name 'no-such-bucket'"):
        list_source("s3://no-such-bucket/x", Storage())


def test_wrong_credentials_are_named(
    s3_environment: object, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    Storage().filesystem("s3://x")[0].clear_instance_cache()
    with pytest.raises(SourceError, match="access denied"):
        list_source(f"s3://{bucket}/x", Storage())
    Storage().filesystem("s3://x")[0].clear_instance_cache()


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(UsageError, match="unknown scheme 'ftp://'"):
        list_source("ftp://host/x", Storage())


def test_no_link_vanishes_and_only_files_in_the_root_are_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    inside = tmp_path / "corpus"
    (inside / "folder").mkdir(parents=True)
    (inside / "folder" / "a.txt").write_text("abc")
    targets = {"dangling": inside / "gone", "in": inside / "folder" / "a.txt", "out": tmp_path / "secret.txt"}
    for name, target in {**targets, "way": inside / "folder"}.items():
        (inside / name).symlink_to(target)
    listed = list_source(str(inside), Storage())
    sizes = {Path(row["uri"]).name: row["size"] for row in listed.table.to_pylist()}
    assert sizes == {"a.txt": 3, "dangling": None, "in": 3, "out": None, "way": None}
    assert found_codes(listed) == {
        "dangling": ErrorCode.NOT_FOUND,
        "out": ErrorCode.SOURCE_NOT_ALLOWED,
        "way": ErrorCode.NOT_FOUND,
    }


def found_codes(listed: Listed) -> dict[str, ErrorCode]:
    """What a run would quarantine of a listing, by name."""
    rows = listed.table.to_pylist()
    fetcher = Fetcher(storage=Storage(), grants={listed.source: listed.roots}, max_bytes=1 << 20)
    wanted = [Wanted(row["uri"], row["source"], row["size"], row["inline"]) for row in rows]
    found = dict(fetcher.fetch_all(wanted))
    return {
        Path(rows[index]["uri"]).name: item.code
        for index, item in found.items()
        if isinstance(item, AssetError)
    }


def test_a_folder_that_cannot_be_read_is_an_error_and_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(str(tmp_path), {"a.txt": b"a", "one/locked/b.txt": b"b"})
    scan = os.scandir

    def refuse(path: str) -> Any:
        if path.endswith("locked"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SourceError, match=r"cannot list the folder .*one/locked: Permission denied"):
        list_source(str(tmp_path), Storage())


def test_names_that_are_not_utf8_are_one_quarantined_row_each(tmp_path: Path) -> None:
    for name in (b"caf\xe9.txt", b"caf\xe8.txt", b"plain.txt"):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_text("x")
    listed = list_source(str(tmp_path), Storage())
    sizes = {Path(row["uri"]).name: row["size"] for row in listed.table.to_pylist()}
    assert sizes == {"caf\N{REPLACEMENT CHARACTER}.txt": None, "caf\\xe9.txt": None, "plain.txt": 1}
    assert set(found_codes(listed).values()) == {ErrorCode.NOT_FOUND}


@pytest.mark.usefixtures("s3_environment")
def test_a_prefix_beside_an_object_of_its_name_is_listed(bucket: str) -> None:
    fill(f"s3://{bucket}", {"pre": b"", "pre/a.txt": b"a", "alone": b"x", "prefix-not": b"x"})
    for source in (f"s3://{bucket}/pre", f"s3://{bucket}/pre/"):
        listed = list_source(source, Storage())
        assert listed.table["uri"].to_pylist() == [f"s3://{bucket}/pre/a.txt"]
        assert listed.roots == (f"s3://{bucket}/pre",)
    assert list_source(f"s3://{bucket}/alone", Storage()).table.num_rows == 1
    with pytest.raises(SourceError, match="not found"):
        list_source(f"s3://{bucket}/alone/", Storage())


def test_a_single_object_grants_itself_and_a_document_its_folder(place: str) -> None:
    fill(place, {"a.txt": b"a", "doc.JSON": b"{}"})
    assert list_source(join(place, "a.txt"), Storage()).roots == (join(place, "a.txt"),)
    assert list_source(join(place, "doc.JSON"), Storage()).roots == (join(place, "doc.JSON"), place)


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_manifest_lists_its_uris_with_metadata(place: str, kind: str, tmp_path: Path) -> None:
    fill(place, {"data/a.txt": b"one", "data/b.txt": b"three"})
    rows = pa.table(
        {"uri": ["data/a.txt", join(place, "data/b.txt")], "year": [1999, 2001], "who": ["x", None]}
    )
    fill(place, {f"m.{kind}": encoded(rows, kind, tmp_path)})
    table = list_source(join(place, f"m.{kind}"), Storage()).table
    assert table["uri"].to_pylist() == [join(place, "data/a.txt"), join(place, "data/b.txt")]
    assert table["size"].to_pylist() == [3, 5]
    found = table["metadata"].to_pylist()
    assert [row["year"] for row in found] == [1999, 2001]
    assert [row["who"] or None for row in found] == ["x", None]


def encoded(rows: pa.Table, kind: str, tmp_path: Path) -> bytes:
    if kind == "jsonl":
        return "\n".join(json.dumps(row) for row in rows.to_pylist()).encode()
    path = tmp_path / f"m.{kind}"
    if kind == "csv":
        pa.csv.write_csv(rows, path)
    else:
        pq.write_table(rows, path)
    return path.read_bytes()


def test_a_jsonl_of_documents_is_a_manifest_of_inline_assets(place: str) -> None:
    lines = [
        {"id": "d1", "parts": ["hello"], "year": 2020},
        {"parts": [{"type": "text", "text": "x"}], "year": 2021},
    ]
    fill(place, {"docs.jsonl": "\n".join(json.dumps(line) for line in lines).encode()})
    manifest = join(place, "docs.jsonl")
    table = list_source(manifest, Storage()).table
    assert table["uri"].to_pylist() == [f"{manifest}#d1", f"{manifest}#line-2"]
    assert [json.loads(raw)["year"] for raw in table["inline"].to_pylist()] == [2020, 2021]
    assert table["metadata"].to_pylist() == [{"year": 2020}, {"year": 2021}]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"path,year\na,1\n", "has no column 'uri'"),
        (b"uri,text\na,1\n", "'text' has a reserved name"),
        (b"uri,year\na,1\na,2\n", "twice"),
        (b"\x00\x01\x02", "has no column|cannot read manifest"),
    ],
)
def test_a_manifest_that_is_none_is_one_clear_error(tmp_path: Path, body: bytes, message: str) -> None:
    (tmp_path / "m.csv").write_bytes(body)
    with pytest.raises((SourceError, UsageError), match=message):
        list_source(str(tmp_path / "m.csv"), Storage())


def test_a_broken_parquet_manifest_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "m.parquet").write_bytes(b"PAR1 this is not parquet")
    with pytest.raises(SourceError, match="cannot read manifest"):
        list_source(str(tmp_path / "m.parquet"), Storage())


def test_objects_outside_the_grants_stay_listed_and_unread(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "m.csv").write_text("uri\n/etc/passwd\nhttp://169.254.169.254/latest\n")
    table = list_source(str(tmp_path / "m" / "m.csv"), Storage()).table
    assert table["uri"].to_pylist() == ["/etc/passwd", "http://169.254.169.254/latest"]
    assert table["size"].to_pylist() == [None, None]


def test_pipes_and_sockets_in_a_folder_are_no_assets_and_in_a_manifest_one_quarantined_row(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.txt").write_text("a")
    assert [Path(u).name for u in list_source(str(tmp_path), Storage()).table["uri"].to_pylist()] == ["a.txt"]
    (tmp_path / "m.csv").write_text("uri\na.txt\npipe\n")
    listed = list_source(str(tmp_path / "m.csv"), Storage())
    assert listed.table["size"].to_pylist() == [1, None]
    assert found_codes(listed) == {"pipe": ErrorCode.NOT_FOUND}


@pytest.mark.parametrize("name", ["pipe", "pipe.csv", "pipe.parquet"])
def test_a_pipe_as_a_source_is_one_line_and_does_not_block(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(SourceError, match=f"{name}: a folder, pipe, socket or device, not a file"):
        list_source(str(tmp_path / name), Storage())


def test_a_folder_is_listed_by_path(tmp_path: Path) -> None:
    names = ["a.txt", "a/1", "a-b", "a/b/2", "b", "a!/3", "é", "z z/4"]
    fill(str(tmp_path), dict.fromkeys(names, b"x"))
    found = [
        uri.removeprefix(f"{tmp_path}/")
        for uri in list_source(str(tmp_path), Storage()).table["uri"].to_pylist()
    ]
    assert found == sorted(names)


def test_several_sources_are_listed_in_their_order(place: str) -> None:
    for name in "cab":
        fill(place, {f"{name}/x.txt": name.encode()})
    sources = [join(place, name) for name in "cab"]
    assert [one.source for one in list_sources(sources, Storage())] == sources
    with pytest.raises(SourceError, match="absent"):
        list_sources([*sources, join(place, "absent")], Storage())


def test_a_manifest_without_sizes_looks_at_its_objects_on_a_faulty_s3(
    s3_environment: S3Server, bucket: str
) -> None:
    place = f"s3://{bucket}/in"
    fill(place, {f"{n}.txt": b"x" * n for n in range(40)})
    fill(place, {"m.csv": "\n".join(["uri", *(f"{n}.txt" for n in range(40))]).encode()})
    with FaultyProxy(s3_environment.endpoint, seed=3, rate=0.3) as proxy:
        storage = Storage(StorageConfig(endpoint_url=proxy.url))
        listed = list_source(join(place, "m.csv"), storage)
    assert listed.table["size"].to_pylist() == list(range(40))
    assert sum(n for (method, _), n in proxy.injected.items() if method == "HEAD") > 3
