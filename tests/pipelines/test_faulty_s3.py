"""With a source and a lake on an S3 that fails one request in ten, a run publishes what it would have published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jobs.demo.server import S3Server
from operators.storage import Storage, join
from pipelines.embed import EmbedJob
from pipelines.reader import LakeReader
from pipelines.runlog import run_log
from pipelines.sql import query
from schemas.config import Policy, RunConfig, StorageConfig
from schemas.errors import EmbedlakeError, SourceError
from schemas.report import RunReport
from tests.faulty import EXPIRED, KINDS, TRUNCATED, FaultyProxy
from tests.models.hashed import HashSpec

DEMO = Path(__file__).resolve().parents[2] / "infra" / "demo" / "corpus"
MEDIA = (
    *("images/bicycle.jpg", "images/castle.webp", "images/camera.png", "images/basketball.tiff"),
    *("audio/guitar-lesson.mp3", "audio/dog-training.mp3", "pdf/harbour-guide.pdf", "video/kitchen.mov"),
    *("broken/truncated.jpg", "broken/encrypted.pdf", "broken/empty.txt", "broken/unsupported.bin"),
)
TEXTS = 46
ROWS = "uri, segment_id, modality, ordinal, text, embedding_32, embedding_16, embedding_8"
ASSETS = "uri, size, etag, status, error_code, content_hash, segments"


@pytest.fixture
def source(s3_environment: S3Server, bucket: str) -> str:
    """About 60 assets of every kind, four of them bad, two documents that refer to others."""
    place, storage = f"s3://{bucket}/in", Storage()
    for number in range(TEXTS):
        words = " ".join(f"word{number * k % 97}" for k in range(1, 40 + 40 * (number % 9)))
        storage.put(f"{place}/texts/{number % 5}/{number}.txt", words.encode())
    for name in MEDIA:
        storage.put(f"{place}/{name}", (DEMO / name).read_bytes())
    for number, picture in enumerate(("bicycle.jpg", "castle.webp")):
        parts = [f"picture {number}:", {"type": "image", "uri": f"images/{picture}"}]
        storage.put(f"{place}/{number}.json", json.dumps({"parts": parts}).encode())
    return place


def job(source: str, lake: str, storage: Storage) -> EmbedJob:
    config = RunConfig(actors=1, block_rows=16, shard_assets=8)
    return EmbedJob(
        sources=(source,),
        lake=lake,
        spec=HashSpec(),
        corpus="c",
        config=config,
        policy=Policy(coverage_floor=0.9),
        storage=storage,
    )


def table(lake: str) -> list[dict[str, Any]]:
    found = query(LakeReader.open(lake), f"SELECT {ROWS} FROM c ORDER BY uri, ordinal")
    return found.to_pylist()


def outcomes(lake: str) -> list[dict[str, Any]]:
    return query(LakeReader.open(lake), f"SELECT {ASSETS} FROM assets ORDER BY uri").to_pylist()


def run(source: str, lake: str, proxy: FaultyProxy) -> RunReport:
    storage = Storage(StorageConfig(endpoint_url=proxy.url, timeout_seconds=10))
    return job(source, lake, storage).run()


@pytest.mark.usefixtures("local_ray")
def test_a_faulty_s3_gives_the_same_table_and_a_second_run_publishes_nothing(
    source: str, bucket: str, s3: S3Server
) -> None:
    calm, stormy = (f"s3://{bucket}/{name}" for name in ("calm", "stormy"))
    expected = job(source, calm, Storage()).run()
    with FaultyProxy(s3.endpoint, seed=7) as proxy:
        found = run(source, stormy, proxy)
        assert {kind for _, kind in proxy.injected} == set(KINDS)
        assert sum(proxy.injected.values()) > 8
        before = LakeReader.open(stormy).catalog
        again = run(source, stormy, proxy)
    assert found.counts == expected.counts
    assert found.quarantine_reasons == expected.quarantine_reasons
    assert table(stormy) == table(calm)
    assert outcomes(stormy) == outcomes(calm)
    assert (again.published_version, again.counts.unchanged) == (None, expected.counts.listed)
    assert LakeReader.open(stormy).catalog == before


TRANSIENT = {"storage", "changed_while_reading"}
COUNTED = """
SELECT a.uri, a.segments, count(c.uri) AS found FROM assets a LEFT JOIN c ON a.uri = c.uri
GROUP BY a.uri, a.segments HAVING a.segments <> found
"""


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_storm_publishes_all_or_nothing_and_calls_no_asset_corrupt(
    seed: int, bucket: str, s3: S3Server, s3_environment: S3Server
) -> None:
    source, lake, storage = texts(bucket), f"s3://{bucket}/lake", Storage()
    storage.put(f"{source}/x.jpg", (DEMO / "images/bicycle.jpg").read_bytes())
    impatient = StorageConfig(attempts=2, retry_seconds=4, timeout_seconds=5)
    for attempt, rate in enumerate((0.3, 0.1)):
        with FaultyProxy(s3.endpoint, seed=10 * seed + attempt, rate=rate) as proxy:
            stormy = job(source, lake, Storage(impatient.model_copy(update={"endpoint_url": proxy.url})))
            said = attempt_of(replace(stormy, policy=Policy(coverage_floor=0)))
        assert "\n" not in said
        assert s3.secret_key not in said
        if published(lake):
            assert query(LakeReader.open(lake), COUNTED).num_rows == 0
            assert {row["error_code"] for row in outcomes(lake)} <= TRANSIENT | {None}
    calm = job(source, lake, storage).run()
    assert (calm.counts.listed, calm.quarantine_reasons) == (25, {})
    assert {row["status"] for row in outcomes(lake)} == {"embedded"}
    assert query(LakeReader.open(lake), COUNTED).num_rows == 0
    job(source, f"{lake}-undisturbed", storage).run()
    assert table(lake) == table(f"{lake}-undisturbed")


@pytest.mark.usefixtures("local_ray", "s3_environment")
def test_what_storage_never_gives_is_quarantined_as_such_and_embedded_by_the_next_run(
    bucket: str, s3: S3Server
) -> None:
    source, lake = texts(bucket), f"s3://{bucket}/lake"

    def one(method: str, target: str) -> bool:
        return method == "GET" and target.endswith("/in/7.txt")

    with FaultyProxy(s3.endpoint, seed=1, rate=1, kinds=(TRUNCATED,), chosen=one, most_in_a_row=999) as proxy:
        storage = Storage(StorageConfig(endpoint_url=proxy.url, attempts=2))
        first = job(source, lake, storage).run()
    assert (first.counts.embedded, first.quarantine_reasons) == (23, {"storage": 1})
    second = job(source, lake, Storage()).run()
    assert (second.counts.embedded, second.counts.unchanged, second.quarantine_reasons) == (1, 23, {})


@pytest.mark.usefixtures("local_ray", "s3_environment")
def test_credentials_that_expire_in_the_middle_end_the_run_in_one_line(bucket: str, s3: S3Server) -> None:
    source, lake = texts(bucket), f"s3://{bucket}/lake"

    def late(method: str, target: str) -> bool:
        return method == "GET" and (".txt" in target or "prefix=&" in target)

    with FaultyProxy(s3.endpoint, seed=1, rate=1, kinds=(EXPIRED,), chosen=late, most_in_a_row=999) as proxy:
        storage = Storage(StorageConfig(endpoint_url=proxy.url))
        with pytest.raises(SourceError, match="have expired: renew them and run the same command") as error:
            job(source, lake, storage).run()
    assert "\n" not in str(error.value)
    assert not published(lake)
    assert job(source, lake, Storage()).run().counts.embedded == 24


def test_a_run_s_log_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG")
    url = "https://b/k?X-Amz-Credential=AKID&X-Amz-Signature=5d672d79c1"
    refusal = OSError(f"refused: {url} wJalrXUtnFEMI/K7MDENG")
    with pytest.raises(OSError, match="refused"), run_log(Storage(), f"{tmp_path}/run.log"):
        raise refusal
    log = (tmp_path / "run.log").read_text()
    assert "refused: https://b/k?X-Amz-Credential=***" in log
    assert "wJalr" not in log
    assert "5d672d79c1" not in log


def texts(bucket: str) -> str:
    """The URI of 24 texts."""
    for number in range(24):
        Storage().put(f"s3://{bucket}/in/{number}.txt", f"words of asset {number} ".encode() * (number + 1))
    return f"s3://{bucket}/in"


def published(lake: str) -> bool:
    names = Storage().names(join(lake, "catalog"))
    return bool(names) and LakeReader.open(lake).catalog.corpora["c"].run_id is not None


def attempt_of(run: EmbedJob) -> str:
    """What a person is told; nothing when the run went through."""
    try:
        run.run()
    except EmbedlakeError as error:
        return str(error)
    return ""
