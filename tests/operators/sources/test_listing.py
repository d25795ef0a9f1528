"""Listing behaves the same for folders, prefixes, objects and manifests, on disk and on S3."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from operators.sources.listing import list_source
from operators.storage import Storage, join
from schemas.errors import SourceError, UsageError
from schemas.tables import LISTING


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


def test_a_link_out_of_the_source_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    inside = tmp_path / "corpus"
    inside.mkdir()
    (inside / "link.txt").symlink_to(tmp_path / "secret.txt")
    (inside / "a.txt").write_text("a")
    assert list_source(str(inside), Storage()).table["uri"].to_pylist() == [str(inside / "a.txt")]


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
