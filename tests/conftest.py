"""Fixtures that every suite shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from jobs.demo.server import S3Server
from pipelines.engine.cluster import cluster

pytest_plugins = ["tests.s3"]
settings.register_profile("shared", deadline=None)  # machines are shared and noisy
settings.load_profile("shared")


@pytest.fixture(scope="session")
def local_ray(s3: S3Server) -> Iterator[None]:
    """One local Ray for the session; its workers find the S3 server in their environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment().items():
            patch.setenv(name, value)
        with cluster():
            yield


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a lake or a corpus: behaviour suites run on local disk and on a real S3 server."""
    if request.param == "disk":
        yield str(tmp_path / "place")
        return
    request.getfixturevalue("s3_environment")
    yield f"s3://{request.getfixturevalue('bucket')}/place"
