"""Export to Parquet: what any reader finds is the lake's rows, and only what changed is written."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from operators.export.target import Target
from operators.lake.files import find
from operators.storage import Storage, join
from pipelines.export import parquet
from pipelines.export.parquet import Exported, export_parquet
from pipelines.export.spec import check_spec
from pipelines.gc import collect
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from pipelines.spaces import drop, promote
from schemas.corpus import Backfill
from schemas.errors import ConflictError, UsageError
from schemas.export import DType, ExportSpec
from schemas.space import Space
from tests.models.hashed import HashSpec
from tests.pipelines.wear import CORPUS, Worn, texts

STORAGE = Storage()


@pytest.fixture
def worn(place: str) -> Worn:
    made = Worn(join(place, "lake"))
    made.night(texts(*"abcdef"))
    return made


@pytest.fixture
def target(place: str) -> str:
    return join(place, "out")


def export(worn: Worn, target: str, full: bool = False, **spec: Any) -> Exported:
    reader = LakeReader.open(worn.lake)
    asked = {
        "corpus": CORPUS,
        "space": reader.catalog.corpora[CORPUS].live,
        "widths": (),
        "dtype": DType.FLOAT32,
    }
    return export_parquet(reader, check_spec(reader, ExportSpec(**asked | spec)), target, full=full)


def files(target: str) -> list[str]:
    return [f.uri for f in find(STORAGE, target) if f.uri.endswith(".parquet")]


def read(target: str) -> pa.Table:
    """All files below a target, as someone reads them who knows of no manifest."""
    tables = []
    for uri in files(target):
        fs, path = STORAGE.filesystem(uri)
        with fs.open(path, "rb") as opened:
            tables.append(pq.ParquetFile(opened).read())
    return pa.concat_tables(tables)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=lambda row: (row["uri"], row["ordinal"]))


def lake_rows(worn: Worn) -> list[dict[str, Any]]:
    return rows(LakeReader.open(worn.lake).segments(CORPUS).to_table())


def assert_same(worn: Worn, target: str) -> None:
    """Whoever reads all files, and whoever reads `_metadata`, finds the lake's rows."""
    assert rows(read(target)) == lake_rows(worn)
    fs, path = STORAGE.filesystem(join(target, "_metadata"))
    assert rows(pads.parquet_dataset(path, filesystem=fs).to_table()) == lake_rows(worn)


def test_each_export_is_the_lake_s_rows_and_writes_only_what_changed(worn: Worn, target: str) -> None:
    first = export(worn, target)
    assert (first.rows, first.rows_added, first.anew) == (12, 12, "the target was empty")
    assert_same(worn, target)
    kept = files(target)
    again = export(worn, target)
    assert (again.rows_added, again.rows_removed, again.bytes_written, files(target)) == (0, 0, 0, kept)
    worn.night(texts(*"abcdefg"))
    grown = export(worn, target)
    assert (grown.rows_added, grown.rows_removed, grown.files_written, grown.anew) == (2, 0, 1, None)
    assert set(kept) < set(files(target)), "what did not change was not written again"
    assert_same(worn, target)
    worn.night(texts(*"bcdefg"))
    fewer = export(worn, target)
    assert (fewer.rows_added, fewer.rows_removed, fewer.files_written, fewer.files_removed) == (0, 2, 1, 1)
    assert_same(worn, target)
    worn.night(texts(*"bcdef") | {"s/g.txt": "other words"})
    changed = export(worn, target)
    assert (changed.rows_added, changed.rows_removed, changed.rows) == (2, 2, 12)
    assert_same(worn, target)


def test_compaction_and_collected_versions_cost_nothing(worn: Worn, target: str) -> None:
    export(worn, target)
    kept = files(target)
    worn.night(texts(*"abcdefg"))
    maintain(worn.lake, CORPUS, days=0)
    collect(worn.lake, days=0)
    done = export(worn, target)
    assert (done.anew, done.rows_added, done.rows_removed) == (None, 2, 0)
    assert set(kept) < set(files(target))
    assert_same(worn, target)


def test_another_space_width_or_type_is_refused_until_full(worn: Worn, target: str) -> None:
    export(worn, target, widths=(8,))
    with pytest.raises(UsageError, match=r"widths 8, not 32, 16, 8.*--full"):
        export(worn, target)
    with pytest.raises(UsageError, match="dtype float32, not int8"):
        export(worn, target, widths=(8,), dtype=DType.INT8)
    with pytest.raises(UsageError, match="width 9 is not in the lake; choose of 32, 16, 8"):
        export(worn, target, widths=(9,))
    assert read(target).schema.names[-1] == "embedding_8"
    done = export(worn, target, full=True, widths=(16, 8), dtype=DType.INT8)
    assert (done.anew, done.files_removed) == ("--full", 1)
    names = [name for name in read(target).schema.names if name.startswith("embedding")]
    assert names == ["embedding_16", "embedding_16_scale", "embedding_8", "embedding_8_scale"]


def test_a_promoted_space_is_refused_until_it_is_asked_for(worn: Worn, target: str) -> None:
    export(worn, target)
    other = replace(worn, spec=HashSpec("other"), backfill=Backfill(model="other"))
    other.night(texts(*"abcdef"))
    promote(worn.lake, CORPUS, other.space.id, force=True)
    with pytest.raises(UsageError, match=f"space {worn.space.id}, not {other.space.id}"):
        export(worn, target)
    assert export(worn, target, space=worn.space.id).rows_added == 0
    assert export(worn, target, full=True).rows_added == 12
    assert Space.of(read(target).schema).id == other.space.id


def test_a_space_that_was_made_again_is_exported_anew(worn: Worn, target: str) -> None:
    other = replace(worn, spec=HashSpec("other"), backfill=Backfill(model="other"))
    other.night(texts(*"abcdef"))
    export(worn, target, space=other.space.id)
    drop(worn.lake, CORPUS, other.space.id)
    other.night(texts(*"abcdef", version="two"))
    done = export(worn, target, space=other.space.id)
    assert done.anew == f"space {other.space.id} was dropped and made again"
    found = LakeReader.open(worn.lake).segments(CORPUS, other.space.id).to_table()
    assert rows(read(target)) == rows(found)


def test_a_history_that_is_gone_means_everything_and_is_said(worn: Worn, target: str) -> None:
    export(worn, target)
    entry = worn.log().read().number
    worn.night(texts(*"abcdefg"))
    fs, path = STORAGE.filesystem(worn.log().uri(entry))
    fs.rm_file(path)
    done = export(worn, target)
    assert done.anew is not None
    assert f"no longer reaches back to its entry {entry}" in done.anew
    assert_same(worn, target)


def test_another_lake_of_the_same_name_is_exported_anew(worn: Worn, target: str, place: str) -> None:
    export(worn, target)
    other = replace(worn, lake=join(place, "other"))
    other.night(texts(*"ab", version="two"))
    assert export(other, target).anew == "the target holds an export of another lake"
    assert_same(other, target)


def test_what_is_no_export_is_left_alone(worn: Worn, target: str) -> None:
    STORAGE.put(join(target, "part-00000001-mine.parquet"), b"precious")
    with pytest.raises(UsageError, match="is not empty and holds no export"):
        export(worn, target, full=True)
    assert STORAGE.read(join(target, "part-00000001-mine.parquet")) == b"precious"
    with pytest.raises(UsageError, match="lies in the lake"):
        export(worn, join(worn.lake, "out"))


def test_of_two_exports_at_once_one_is_refused_and_leaves_nothing(
    worn: Worn, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(worn, target)
    worn.night(texts(*"bcdefg"))
    real = Target.commit

    def slow(mine: Target, written: Any) -> None:
        monkeypatch.setattr(Target, "commit", real)
        export(worn, target)
        real(mine, written)

    monkeypatch.setattr(Target, "commit", slow)
    with pytest.raises(ConflictError, match="run it again"):
        export(worn, target)
    assert_same(worn, target)


def test_partitions_are_folders_and_a_night_touches_only_its_own(worn: Worn, target: str) -> None:
    export(worn, target, partition="modality")
    assert all("/modality=text/part-" in uri for uri in files(target))
    worn.night(texts(*"bcdefg"))
    export(worn, target, partition="modality")
    assert_same(worn, target)


def test_many_small_files_become_one(worn: Worn, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_SMALL_FILES", 3)
    names = "abcdef"
    counts = []
    for name in "ghijk":
        export(worn, target)
        counts.append(len(files(target)))
        names += name
        worn.night(texts(*names))
    done = export(worn, target)
    assert counts == [1, 2, 3, 1, 2]
    assert (done.rows, done.rows_removed) == (22, 0)
    assert_same(worn, target)
