"""An export that dies anywhere: readers see one export or the other, and the same command completes it."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.dataset as pads
import pytest

from operators.export.staged import StagedFile
from operators.export.target import Target
from operators.lake import files as lake_files
from operators.storage import Storage
from pipelines.forget import forget
from schemas.errors import ConflictError, LakeError
from tests.pipelines.test_export import assert_same, export, files, lake_rows, rows
from tests.pipelines.wear import Killed, Worn, dying, texts


def die_before(patch: pytest.MonkeyPatch, step: int) -> None:
    """Die before the n-th change of the target, and change nothing any more."""
    counted = dying(step)
    patch.setattr(Storage, "put", counted(Storage.put))
    patch.setattr(Storage, "put_if_absent", counted(Storage.put_if_absent))
    patch.setattr(lake_files, "_delete", counted(lake_files._delete))
    patch.setattr(lake_files, "_BATCH", 1)
    patch.setattr(StagedFile, "commit", counted(StagedFile.commit))
    patch.setattr(StagedFile, "discard", lambda staged: None)


@pytest.mark.parametrize("first", [True, False], ids=["the first", "a later"])
def test_an_export_killed_anywhere_is_completed_by_the_next(first: bool, tmp_path: Path) -> None:
    worn = Worn(str(tmp_path / "lake"))
    worn.night(texts(*"abcd"))
    before, base = [], str(tmp_path / "base")
    if first:
        Path(base).mkdir()
    else:
        export(worn, base)
        before = lake_rows(worn)
        worn.night(texts(*"bcde"))
    after = lake_rows(worn)
    for step in range(1, 50):
        target = shutil.copytree(base, tmp_path / f"out{step}")
        with pytest.MonkeyPatch.context() as patch:
            die_before(patch, step)
            try:
                export(worn, str(target))
                assert step > 5
                break
            except Killed:
                pass
        if (target / "_metadata").exists():
            assert rows(pads.parquet_dataset(target / "_metadata").to_table()) in (before, after), step
        export(worn, str(target))
        assert_same(worn, str(target))
        assert not list(target.rglob(".tmp-*")), step
        assert len(files(str(target))) * 2 + 2 == sum(p.is_file() for p in target.rglob("*")), step
    else:
        pytest.fail("it never ended")


def test_files_stay_when_nobody_knows_whether_they_were_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn, target = Worn(str(tmp_path / "lake")), str(tmp_path / "out")
    worn.night(texts(*"abcd"))
    export(worn, target)
    worn.night(texts(*"bcde"))
    real = Storage.put_if_absent

    def lost(storage: Storage, uri: str, data: bytes) -> bool:
        real(storage, uri, data)
        raise TimeoutError("the answer was lost")

    monkeypatch.setattr(Storage, "put_if_absent", lost)
    with pytest.raises(LakeError):
        export(worn, target)
    monkeypatch.undo()
    done = export(worn, target)
    assert (done.rows_added, done.rows_removed, done.bytes_written) == (0, 0, 0)
    assert_same(worn, target)


@pytest.mark.parametrize("step", range(2, 9))
@pytest.mark.parametrize("forgotten", [False, True])
def test_what_a_dead_export_left_goes_with_one_that_writes_nothing(
    forgotten: bool, step: int, tmp_path: Path
) -> None:
    worn, target = Worn(str(tmp_path / "lake")), str(tmp_path / "out")
    worn.night(texts(*"abcd"))
    export(worn, target)
    if forgotten:
        worn.night(texts(*"abcdx"))
    with pytest.MonkeyPatch.context() as patch:
        die_before(patch, step)
        with suppress(Killed):
            export(worn, target, full=not forgotten)
    if forgotten:
        forget(worn.lake, "demo", ["s/x.txt"])
    export(worn, target)
    assert_same(worn, target)
    assert not list(Path(target).rglob(".tmp-*"))


def test_a_slow_export_does_not_overwrite_the_metadata_of_a_later_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn, target = Worn(str(tmp_path / "lake")), str(tmp_path / "out")
    worn.night(texts(*"abcd"))
    real = Target.put_metadata

    def overtaken(*given: Any) -> None:
        monkeypatch.undo()
        worn.night(texts(*"bcde"))
        export(worn, target)
        real(*given)

    monkeypatch.setattr(Target, "put_metadata", overtaken)
    with pytest.raises(ConflictError, match="ended first"):
        export(worn, target)
    assert rows(pads.parquet_dataset(Path(target) / "_metadata").to_table()) == lake_rows(worn)
