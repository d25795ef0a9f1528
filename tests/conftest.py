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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A run on Ray costs seconds: those that run on both places do it on S3 here, and on disk in `make slow`."""
    for item in items:
        params = (
            item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        )
        if params.get("place") == "disk" and "local_ray" in item.fixturenames:
            item.add_marker(pytest.mark.slow)


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
