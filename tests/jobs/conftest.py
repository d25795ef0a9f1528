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
    monkeypatch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")
    folder = tmp_path / "hashed-model"
    folder.mkdir()
    (folder / "embedlake.json").write_text('{"family": "hashed"}')
    return str(folder)
