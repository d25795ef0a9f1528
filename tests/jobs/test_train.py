"""`embedlake train`: progress while it runs, a summary at its end, one line for mistakes and interruptions."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.__main__ import main
from jobs.show_training import Watch
from pipelines.training.record import RunRecord, StageRecord
from schemas.errors import ExitCode

Run = Callable[..., tuple[int, str, str]]
RECIPE = """\
name: short
stages:
  - {name: joint, steps: 2, batch: 4, shares: {text: 1.0}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "short.yaml").write_text(RECIPE)
    return str(tmp_path / "short.yaml")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["embedlake", "train", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), *capfd.readouterr()

    return call


def record() -> RunRecord:
    stages = (StageRecord(name="joint", seconds=3.2, losses=(2.0, 1.0)),)
    scores = {"joint": {"text": 0.5}, "soup": {"text": 0.625}}
    return RunRecord(recipe={"name": "short"}, versions={}, stages=stages, soup={"joint": 1.0}, scores=scores)


def trained(monkeypatch: pytest.MonkeyPatch, outcome: RunRecord | BaseException) -> list[dict[str, Any]]:
    """What the run was asked for, each time; training itself is tested where it lives."""
    asked: list[dict[str, Any]] = []

    def run_recipe(recipe: Any, folder: Path, work: Path, **options: Any) -> RunRecord:
        asked.append({"recipe": recipe.name, "folder": folder, "work": work})
        options["progress"]("joint: step 1 of 2, loss 2.000")
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr("pipelines.training.run.run_recipe", run_recipe)
    return asked


def test_a_run_tells_its_steps_and_ends_in_a_summary(
    run: Run, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = trained(monkeypatch, record())
    code, out, err = run("--recipe", recipe, "--to", f"{tmp_path}/m", "--data", f"{tmp_path}/d")
    assert code == ExitCode.OK
    assert asked == [{"recipe": "short", "folder": tmp_path / "m", "work": tmp_path / "d"}]
    assert "joint: step 1 of 2, loss 2.000" in err
    assert "joint: 2 steps in 3 s, loss 1.500" in out
    assert ["soup", "0.625"] in [line.split() for line in out.splitlines()]
    assert f"embedlake evaluate --model {tmp_path}/m" in out


def test_scripts_get_the_record(
    run: Run, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(monkeypatch, record())
    code, out, err = run("--recipe", recipe, "--to", f"{tmp_path}/m", "--json")
    assert (code, err) == (ExitCode.OK, "")
    assert RunRecord.model_validate(json.loads(out)) == record()


def test_an_interrupted_run_says_how_to_continue(
    run: Run, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained(monkeypatch, KeyboardInterrupt())
    code, _, err = run("--recipe", recipe, "--to", f"{tmp_path}/m")
    assert code == ExitCode.INTERRUPTED
    assert err.splitlines()[-1] == "embedlake: interrupted; the same command with --resume continues the run"


def test_a_folder_with_a_run_is_continued_only_when_asked(
    run: Run, recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = trained(monkeypatch, record())
    (tmp_path / "m" / "checkpoints").mkdir(parents=True)
    code, out, err = run("--recipe", recipe, "--to", f"{tmp_path}/m")
    assert (code, out, asked) == (ExitCode.USAGE, "", [])
    assert (
        err == f"embedlake: '{tmp_path}/m' is not empty: --resume continues its run, or name another folder\n"
    )
    assert run("--recipe", recipe, "--to", f"{tmp_path}/m", "--resume")[0] == ExitCode.OK
    assert len(asked) == 1


def test_mistakes_in_a_recipe_are_one_line(run: Run, tmp_path: Path) -> None:
    code, _, err = run("--recipe", "no-such", "--to", f"{tmp_path}/m")
    assert (code, len(err.splitlines())) == (ExitCode.USAGE, 1)
    assert "no training recipe 'no-such'" in err
    (tmp_path / "bad.yaml").write_text("name: x\nstages: []\nspeed: 3\n")
    code, _, err = run("--recipe", f"{tmp_path}/bad.yaml", "--to", f"{tmp_path}/m")
    assert (code, len(err.splitlines())) == (ExitCode.USAGE, 1)
    assert not (tmp_path / "m").exists()


def test_lines_of_a_phase_do_not_flood_a_log() -> None:
    screen = io.StringIO()
    with Watch(screen, quiet=False) as watch:
        for step in range(500):
            watch(f"speaker: step {step}")
        watch("joint: \x1b[31mstep 1")
    lines = screen.getvalue().splitlines()
    assert lines == ["speaker: step 0", "joint: [31mstep 1"]
