"""`embedlake evaluate`: a table for people, a document for scripts, one line for mistakes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.__main__ import main
from operators.model.registry import FAMILIES
from schemas.errors import ExitCode
from tests.pipelines.evaluation import tiny_data

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_data.write(tmp_path_factory.mktemp("data"))


@pytest.fixture
def run(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Run:
    for family in ("hashed", "composed"):
        monkeypatch.setitem(FAMILIES, family, "tests.models.hashed:HashSpec")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "embedlake.json").write_text('{"family": "hashed"}')

    def call(*words: str) -> tuple[int, str, str]:
        given = ["--data", str(data), "--model", str(tmp_path / "mine"), *words]
        monkeypatch.setattr(sys, "argv", ["embedlake", "evaluate", *given])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), *capfd.readouterr()

    return call


def test_the_table_names_sets_systems_chance_seed_and_what_was_asked_for(run: Run) -> None:
    code, out, err = run("--sets", "wordnet", "--sets", "picture+words", "--seed", "3")
    assert code == ExitCode.OK
    rows = [line.split() for line in out.splitlines()]
    (mine,) = [row for row in rows if row[:1] == ["wordnet"]]
    count = len(tiny_data.SENTENCES)
    assert mine[1:4] == [f"{count}/{count}", f"{10 / count:.3f}", "tests/mine"]
    assert "average of parts" in out
    assert "seed 3" in out
    assert "met" in out
    assert "wordnet: reading the set" in err


def test_scripts_get_one_document_and_a_file(run: Run, tmp_path: Path) -> None:
    code, out, err = run("--sets", "wordnet", "--queries", "5", "--json", "--out", str(tmp_path / "e.json"))
    assert (code, err) == (ExitCode.OK, "")
    document = json.loads(out)
    assert document == json.loads((tmp_path / "e.json").read_text())
    assert {line["queries"] for line in document["lines"]} == {5}
    assert {line["system"] for line in document["lines"]} == {"tests/mine", "MiniLM"}


def test_a_model_can_stand_alone(run: Run) -> None:
    document = json.loads(run("--sets", "wordnet", "--no-baselines", "--json")[1])
    assert {line["system"] for line in document["lines"]} == {"tests/mine"}
    assert document["bars"] == []


def test_mistakes_are_one_line(run: Run, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = run("--sets", "nothing")
    assert (code, out) == (ExitCode.USAGE, "")
    assert (
        err.strip().splitlines()[-1].startswith("embedlake: no evaluation set 'nothing': known are wordnet")
    )
    monkeypatch.setenv("PATH", "")
    code, _, err = run("--sets", "wordnet", "--data", str(data / "empty"))
    assert code == ExitCode.SOURCE
    assert len([line for line in err.splitlines() if line.startswith("embedlake:")]) == 1
    assert "Traceback" not in err
