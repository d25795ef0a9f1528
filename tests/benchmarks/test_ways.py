"""The ways of `make bench` find every row, so that what they are timed for is the pipeline's work."""

from __future__ import annotations

from pathlib import Path

from tests.benchmarks.ways import Work, plain_loop, stage_by_stage
from tests.models.hashed import HashSpec


def test_a_loop_and_the_stages_make_the_same_rows(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(12):
        (source / f"{number}.txt").write_text(f"note {number}")
    work = Work(str(source), HashSpec())
    alone = stage_by_stage(work, tmp_path / "lake")
    assert alone.rows == plain_loop(work, 1).rows == 12
    assert alone.parts.keys() == {"list", "read", "embed", "stage", "reconcile", "publish"}
