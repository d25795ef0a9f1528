"""The command line as a person runs it, in this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobs.__main__ import main
from operators.model.registry import FAMILIES
from schemas.errors import ExitCode
from tests.lakes import SPEC


@dataclass
class Said:
    """What a command left: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Said]


@pytest.fixture
def embedlake(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    """Run `embedlake WORDS...`."""

    def call(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["embedlake", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        return Said(int(left.value.code or 0), *capfd.readouterr())

    return call


@pytest.fixture
def hashed_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of a model without weights."""
    return _model(tmp_path / "hashed-model", monkeypatch)


class Cli:
    """Runs a command in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capture = patch, capture

    def __call__(self, *words: str, code: ExitCode = ExitCode.OK) -> str:
        self.patch.setattr(sys, "argv", ["embedlake", *words])
        self.capture.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = self.capture.readouterr()
        assert int(left.value.code or 0) == code, err
        assert code is ExitCode.OK or len(err.splitlines()) == 1
        return out if code is ExitCode.OK else err


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    return Cli(monkeypatch, capfd)


@pytest.fixture
def one_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The folder of the model that made the lakes of `tests.lakes`."""
    return _model(tmp_path / SPEC.salt, monkeypatch)


def _model(folder: Path, patch: pytest.MonkeyPatch) -> str:
    patch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")
    folder.mkdir()
    (folder / "embedlake.json").write_text('{"family": "hashed"}')
    return str(folder)
