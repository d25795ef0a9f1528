"""Storage: one spelling of a URI, atomic puts, and errors that a person understands."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from operators.storage import Storage, check_lake_uri, explained, is_within, join, normalize, parent
from schemas.config import StorageConfig
from schemas.errors import LakeError, UsageError


@pytest.mark.parametrize("uri", ["", "  "])
def test_an_empty_uri_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="no lake or source given"):
        normalize(uri)


def test_a_host_in_a_file_uri_is_refused() -> None:
    with pytest.raises(UsageError, match="host 'nas' in file://nas/corpus"):
        normalize("file://nas/corpus")


def test_a_path_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(UsageError, match="not UTF-8"):
        normalize(os.fsdecode(b"/data/caf\xe9"))


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("file:///data/x/", "/data/x"),
        ("FILE:///data/x", "/data/x"),
        ("/data/../x", "/x"),
        ("S3://b/pre/", "s3://b/pre"),
    ],
)
def test_a_uri_has_one_spelling(given: str, normal: str) -> None:
    assert normalize(given) == normal


@pytest.mark.parametrize("uri", ["s3://b/lake#1", "s3://b/lake?x=1"])
def test_a_lake_on_s3_whose_uri_lance_would_cut_is_refused(uri: str) -> None:
    with pytest.raises(UsageError, match="cannot have '#' or '\\?'"):
        check_lake_uri(uri)


def test_a_lake_on_disk_may_have_any_name() -> None:
    assert check_lake_uri("/data/lake #1?") == "/data/lake #1?"
    assert check_lake_uri("s3://b/lake/") == "s3://b/lake"


def test_the_parent_of_a_file_at_the_top_is_the_top() -> None:
    assert parent("/x") == "/"
    assert parent("/a/x") == "/a"
    assert parent("s3://b/x") == "s3://b"


def test_an_empty_uri_is_neither_in_the_working_folder_nor_holds_it() -> None:
    here = os.getcwd()
    assert not is_within("", here)
    assert not is_within(join(here, "x"), "")
    assert is_within("/x", "/")


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o027)
    yield
    os.umask(before)


@pytest.mark.usefixtures("usual_umask")
def test_the_mode_of_a_local_object_is_the_umask_s(tmp_path: Path) -> None:
    Storage().put(str(tmp_path / "put"), b"x")
    assert Storage().put_if_absent(str(tmp_path / "created"), b"x")
    for name in ("put", "created"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
    assert {p.name for p in tmp_path.iterdir()} == {"put", "created"}


def test_of_two_writers_one_creates(place: str) -> None:
    uri = join(place, "one")
    assert Storage().put_if_absent(uri, b"first")
    assert not Storage().put_if_absent(uri, b"second")
    assert Storage().read(uri) == b"first"


def test_a_missing_prefix_has_no_names(place: str) -> None:
    Storage().put(join(place, "a"), b"x")
    assert Storage().names(place) == ["a"]
    assert Storage().names(join(place, "absent")) == []


@pytest.mark.usefixtures("s3_environment")
def test_the_names_in_a_missing_bucket_are_an_error() -> None:
    uri = "s3://no-such-bucket/lake/catalog"
    with pytest.raises(LakeError, match="bucket name 'no-such-bucket'"), explained(uri, LakeError):
        Storage().names(uri)


@pytest.mark.parametrize(
    ("config", "environment", "region"),
    [
        (None, {"AWS_REGION": "eu-north-1", "AWS_DEFAULT_REGION": "us-west-2"}, "eu-north-1"),
        (None, {"AWS_DEFAULT_REGION": "us-west-2"}, "us-west-2"),
        ("ap-south-1", {"AWS_REGION": "eu-north-1"}, "ap-south-1"),
    ],
)
def test_the_region_reaches_botocore_and_lance(
    monkeypatch: pytest.MonkeyPatch, config: str | None, environment: dict[str, str], region: str
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    storage = Storage(StorageConfig(region=config, anonymous=True, endpoint_url="http://127.0.0.1:9"))
    fs, _ = storage.filesystem("s3://b")
    fs.connect()
    assert fs.s3.meta.region_name == region
    assert (storage.lance_options("s3://b") or {})["aws_region"] == region


class _Conflict(BaseHTTPRequestHandler):
    """Answers every PUT as AWS does when a racing conditional write is under way."""

    protocol_version = "HTTP/1.1"  # else the client waits for an answer to its Expect

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b"<Error><Code>ConditionalRequestConflict</Code><Message>conflict</Message></Error>"
        self.send_response(409)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_conditional_write_that_lost_the_race_on_aws_did_not_create(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Conflict) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        storage = Storage(StorageConfig(endpoint_url=endpoint, region="us-east-1"))
        assert storage.put_if_absent("s3://bucket/one", b"x") is False
        server.shutdown()
