"""Reading a lake: damaged reports hide nothing, and a run's log never hides the run's error."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators.lake.layout import Layout
from operators.storage import Storage, join
from pipelines.reader import LakeReader
from pipelines.runlog import LOGGER, run_log
from pipelines.sql import query
from pipelines.status import status
from schemas.errors import LakeError
from schemas.report import Counts, RunReport
from tests.lakes import NOW, make_lake


def report(run_id: str, seconds: float) -> bytes:
    made = RunReport(
        run_id=run_id, corpus="demo", lake="l", space="s", model="m", started_at=NOW, finished_at=NOW,
        counts=Counts(listed=2), quarantine_reasons={}, published_version=2, seconds={"embed": seconds}, log="x",
    )  # fmt: skip
    return made.model_dump_json().encode()


def test_damaged_and_unfinished_runs_hide_nothing(place: str) -> None:
    lake = join(place, "lake")
    make_lake(lake, {"a.txt": "a cat"})
    layout, storage = Layout(lake), Storage()
    storage.put(layout.report("demo", "r1"), report("r1", 1.5))
    storage.put(layout.report("demo", "r2"), b'{"run_id": ')
    storage.put(layout.report("demo", "r3"), b'{"run_id": "of another version"}')
    storage.put(layout.report("demo", "r4"), b"\xff\xfe")
    storage.put(layout.log("demo", "r5"), b"still running")
    storage.put(join(layout.runs("demo"), "stray.txt"), b"no folder")
    reader = LakeReader.open(lake)
    assert [found.run_id for found in reader.runs("demo")] == ["r1"]
    assert query(reader, "select run_id, listed, seconds from runs").to_pylist() == [
        {"run_id": "r1", "listed": 2, "seconds": 1.5}
    ]
    (corpus,) = status(reader).corpora
    assert corpus.last_run is not None
    assert (corpus.last_run.run_id, corpus.embedded, corpus.quarantined) == ("r1", 1, 1)


def test_a_run_s_log_is_kept_however_the_run_ends(tmp_path: Path) -> None:
    with run_log(Storage(), f"{tmp_path}/good.log"):
        LOGGER.info("all is well")
    assert "all is well" in (tmp_path / "good.log").read_text()
    with pytest.raises(RuntimeError), run_log(Storage(), f"{tmp_path}/bad.log"):
        raise RuntimeError("the model choked")
    assert "the model choked" in (tmp_path / "bad.log").read_text()


def test_a_log_that_cannot_be_kept_does_not_replace_the_run_s_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    unreachable = f"{tmp_path}/file/run.log"
    with pytest.raises(RuntimeError, match="the model choked") as caught, run_log(Storage(), unreachable):
        raise RuntimeError("the model choked")
    assert "the log was not kept" in caught.value.__notes__[0]
    with pytest.raises(LakeError, match=r"run\.log"), run_log(Storage(), unreachable):
        LOGGER.info("all is well")
