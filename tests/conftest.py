"""Fixtures that every suite shares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from operators.storage import Storage

pytest_plugins = ["tests.s3"]


@pytest.fixture
def storage() -> Storage:
    return Storage()


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A place for a lake or a corpus: behaviour suites run on local disk and on a real S3 server."""
    if request.param == "disk":
        yield str(tmp_path / "place")
        return
    request.getfixturevalue("s3_environment")
    yield f"s3://{request.getfixturevalue('bucket')}/place"
