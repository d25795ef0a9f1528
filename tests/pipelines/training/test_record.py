"""A run's record reads back, and its plot shows each stage and task."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.training.record import PLOT_FILE, RECORD_FILE, RunRecord, StageRecord, running_mean, versions


def test_record_reads_back_and_the_plot_names_stages_and_tasks(tmp_path: Path) -> None:
    stages = (
        StageRecord(name="speak", seconds=1.0, losses=(1.0, 0.5)),
        StageRecord(name="join", seconds=2.0, losses=(3.0, 2.0, 1.0), drawn=("text", "picture", "text")),
    )
    record = RunRecord(recipe={"seed": 0}, versions=versions(), stages=stages, soup={"a": 1.0})
    record.write(tmp_path)
    assert RunRecord.model_validate_json((tmp_path / RECORD_FILE).read_text()) == record
    plot = (tmp_path / PLOT_FILE).read_text()
    assert all(f"<!-- {name} -->" in plot for name in ("speak", "join", "text", "picture"))


def test_running_mean_starts_at_the_first_value_and_forgets_it() -> None:
    means = running_mean([10.0, *[0.0] * 200])
    assert means[0] == pytest.approx(10.0)
    assert means[1] < 6
    assert means[-1] < 0.01
