"""Storage: one spelling of a URI, atomic puts, and errors that a person understands."""

from __future__ import annotations

import os
import pickle
import stat
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.demo.server import S3Server
from operators.faults import DeniedObject, Fault, MissingObject, StorageFault, one_line
from operators.lake.tables import Table
from operators.storage import Storage, check_lake_uri, explained, is_within, join, normalize, parent
from schemas.config import StorageConfig
from schemas.errors import LakeError, UsageError
from tests.faulty import INTERNAL, LOST, RESET, SLOW_DOWN, TRUNCATED, FaultyProxy
from tests.operators.sources.canned import Answer, canned, refusal


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


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A key pair in the environment; the secret is returned. Sessions of another test's keys are forgotten."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret := "s3cr3t/with+signs")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield secret
    Storage().filesystem("s3://x")[0].clear_instance_cache()


@pytest.mark.usefixtures("keys")
def test_a_conditional_write_that_lost_the_race_on_aws_did_not_create() -> None:
    racing = refusal(409, "ConditionalRequestConflict")
    with canned(lambda *_: racing) as server:
        assert server.storage(attempts=2).put_if_absent("s3://bucket/one", b"x") is False
    assert [method for method, _ in server.asked] == ["PUT", "PUT", "GET", "GET"]


@pytest.mark.usefixtures("keys")
def test_a_conditional_write_beside_a_delete_is_tried_again() -> None:
    answers = iter([refusal(409, "ConditionalRequestConflict"), Answer(200, b"", {"ETag": '"x"'})])
    with canned(lambda *_: next(answers)) as server:
        assert server.storage().put_if_absent("s3://bucket/one", b"x") is True


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    "answer", [refusal(503, "SlowDown"), refusal(500, "InternalError"), Answer(502, b"?")]
)
def test_a_request_is_tried_as_often_as_the_config_says(answer: Answer) -> None:
    with canned(lambda *_: answer) as server, pytest.raises(StorageFault, match=r"\(3 tries\)") as error:
        server.storage(attempts=3).read("s3://bucket/one")
    assert error.value.fault is Fault.TRANSIENT
    assert len(server.asked) == 3


@pytest.mark.usefixtures("keys")
def test_no_try_starts_when_the_seconds_are_over() -> None:
    with canned(lambda *_: refusal(503, "SlowDown")) as server, pytest.raises(StorageFault):
        server.storage(attempts=9, retry_seconds=1e-6).read("s3://bucket/one")
    assert len(server.asked) == 1


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize("answer", [refusal(404, "NoSuchKey"), refusal(403, "AccessDenied")])
def test_what_another_try_would_not_mend_is_asked_once(answer: Answer) -> None:
    with canned(lambda *_: answer) as server, pytest.raises((FileNotFoundError, PermissionError)):
        server.storage().read("s3://bucket/one")
    assert len(server.asked) == 1


@pytest.mark.usefixtures("keys")
def test_a_server_that_does_not_answer_is_given_up() -> None:
    done = threading.Event()

    def silent(method: str, path: str) -> Answer:
        done.wait(20)
        return Answer(200, b"")

    with canned(silent) as server:
        with pytest.raises(StorageFault) as error:
            server.storage(attempts=2, timeout_seconds=0.3).read("s3://bucket/one")
        done.set()
    assert error.value.fault is Fault.TRANSIENT
    assert len(server.asked) == 2


@pytest.mark.usefixtures("keys")
def test_lance_tries_each_of_its_requests_as_often_as_the_config_says() -> None:
    asked = []
    for attempts in (1, 2):
        with canned(lambda *_: refusal(503, "SlowDown")) as server, pytest.raises(LakeError):
            Table("s3://bucket/t.lance", server.storage(attempts=attempts)).open()
        asked.append(len(server.asked))
    assert asked[1] == 2 * asked[0]


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("ExpiredToken", 400, "have expired: renew them and run the same command again"),
        ("InvalidAccessKeyId", 403, "check AWS_ACCESS_KEY_ID"),
        ("SignatureDoesNotMatch", 403, "AWS_SECRET_ACCESS_KEY"),
        ("RequestTimeTooSkewed", 403, "clock is wrong"),
    ],
)
def test_refused_credentials_are_one_line_that_names_the_object_and_the_way_out(
    keys: str, code: str, status: int, said: str
) -> None:
    echo = f"your key AKIDEXAMPLE, your secret {keys}"
    with canned(lambda *_: refusal(status, code, echo)) as server:
        storage = server.storage()
        with pytest.raises(LakeError) as error, explained("s3://bucket/lake", LakeError):
            storage.read("s3://bucket/lake/catalog/1.json")
    assert "s3://bucket/lake/catalog/1.json" in str(error.value)
    assert code in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert keys not in str(error.value)
    assert len(server.asked) == 1


@given(before=st.text(max_size=60), after=st.text(max_size=60))
def test_no_message_holds_a_secret(before: str, after: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
        patch.setenv("AWS_SESSION_TOKEN", "FwoGZXIvYXdzEBYaD")
        for text in (
            f"{before}wJalrXUtnFEMI/K7MDENG{after}",
            f"{before} token FwoGZXIvYXdzEBYaD{after}",
            f"{before} https://b/k?X-Amz-Signature=5d672d79c1&X-Amz-Security-Token=IQoJb3Jp {after}",
            f"{before} https://user:hunter2secret@proxy:8080/ {after}",
            f"{before} <SignatureProvided>5d672d79c1</SignatureProvided> {after}",
        ):
            line = one_line(text)
            for secret in ("wJalrXUtnFEMI", "FwoGZXIvYXdz", "5d672d79c1", "IQoJb3Jp", "hunter2secret"):
                assert secret not in line
            assert "\n" not in line


def test_a_fault_keeps_its_kind_on_its_way_between_processes() -> None:
    for kind in (StorageFault, MissingObject, DeniedObject):
        fault = pickle.loads(pickle.dumps(kind(Fault.CHANGED, "s3://b/k", "why")))
        assert type(fault) is kind
        assert (fault.fault, fault.uri, fault.why, str(fault)) == (
            Fault.CHANGED,
            "s3://b/k",
            "why",
            "s3://b/k: why",
        )


@pytest.mark.parametrize("kind", [LOST, RESET, TRUNCATED, SLOW_DOWN])
def test_a_creation_whose_answer_is_lost_is_the_creator_s_and_nobody_else_s(
    s3_environment: S3Server, bucket: str, kind: str
) -> None:
    uri = f"s3://{bucket}/lease"
    with FaultyProxy(s3_environment.endpoint, seed=1, rate=1, kinds=(kind,), most_in_a_row=2) as proxy:
        storage = Storage(StorageConfig(endpoint_url=proxy.url))
        assert storage.put_if_absent(uri, b"first")
        assert not storage.put_if_absent(uri, b"second")
    assert proxy.injected["PUT", kind] == 4
    assert Storage().read(uri) == b"first"


@pytest.mark.parametrize("seed", range(3))
def test_of_writers_that_race_on_a_faulty_s3_one_creates(
    s3_environment: S3Server, bucket: str, seed: int
) -> None:
    with FaultyProxy(s3_environment.endpoint, seed=seed, rate=0.4, kinds=(LOST, RESET, INTERNAL)) as proxy:
        storage = Storage(StorageConfig(endpoint_url=proxy.url))
        for race in range(4):
            uri = f"s3://{bucket}/{race}"
            bodies = [f"writer {n}".encode() for n in range(8)]
            with ThreadPoolExecutor(len(bodies)) as pool:
                won = list(pool.map(storage.put_if_absent, [uri] * len(bodies), bodies))
            assert won.count(True) == 1
            assert Storage().read(uri) == bodies[won.index(True)]
    assert proxy.injected["PUT", LOST]
