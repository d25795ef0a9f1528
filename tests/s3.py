"""Fixtures of the real S3 server: started once a session; a server that does not start fails the tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from jobs.demo.server import S3Server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """The session's S3 server."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """The name of a new, empty bucket."""
    return s3.create_bucket(f"test-{secrets.token_hex(6)}")


@pytest.fixture
def s3_environment(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with the process' environment pointing at it."""
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return s3
