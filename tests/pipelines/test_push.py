"""Push into vector databases: what is found there is the lake's rows, whatever happened before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.lake.tables import Table
from operators.storage import Storage
from pipelines.export import push as work
from pipelines.export.push import Pushed, push
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from schemas.corpus import Backfill
from schemas.errors import LakeError, UsageError
from schemas.export import DType, ExportSpec
from tests.models.hashed import HashSpec
from tests.pipelines.wear import CORPUS, Killed, Worn, texts

NAME = f"{CORPUS}_8"


def of_lancedb(target: str) -> dict[str, tuple[str, Any]]:
    import lancedb

    table = lancedb.connect(target).open_table(NAME)
    return {row["segment_id"]: (row["text"], row["embedding_8"]) for row in table.to_arrow().to_pylist()}


def of_qdrant(target: str) -> dict[str, tuple[str, Any]]:
    from qdrant_client import QdrantClient

    client = QdrantClient(path=target)
    points, _ = client.scroll(NAME, limit=1000, with_vectors=True)
    client.close()
    return {point.payload["segment_id"]: (point.payload["text"], point.vector) for point in points}


def of_chroma(target: str) -> dict[str, tuple[str, Any]]:
    import chromadb
    from chromadb.config import Settings

    client = chromadb.PersistentClient(target, settings=Settings(anonymized_telemetry=False))
    collection = client.get_collection(NAME, embedding_function=None)
    found = collection.get(include=["documents", "embeddings", "metadatas"])
    client.close()
    rows = zip(found["metadatas"], found["documents"], found["embeddings"], strict=True)
    return {meta["segment_id"]: (text, embedding) for meta, text, embedding in rows}


READERS = {"lancedb": of_lancedb, "qdrant": of_qdrant, "chroma": of_chroma}
MODULES = {"lancedb": "lancedb", "qdrant": "qdrant_client", "chroma": "chromadb"}


@pytest.fixture(params=sorted(READERS))
def database(request: pytest.FixtureRequest) -> str:
    pytest.importorskip(MODULES[request.param], reason=f"needs the extra '{request.param}'")
    return str(request.param)


@pytest.fixture
def worn(tmp_path: Path) -> Iterator[Worn]:
    made = Worn(str(tmp_path / "lake"))
    made.night(texts(*"abcd"))
    return made


def pushed(worn: Worn, database: str, target: str, full: bool = False, **spec: Any) -> Pushed:
    reader = LakeReader.open(worn.lake)
    asked = {"corpus": CORPUS, "space": worn.space.id, "widths": (8,), "dtype": DType.FLOAT32}
    return push(reader, database, target, ExportSpec(**asked | spec), Storage(), full=full)


def assert_same(worn: Worn, database: str, target: str) -> None:
    lake = {
        row["segment_id"]: (row["text"], row["embedding_8"])
        for row in LakeReader.open(worn.lake).segments(CORPUS).to_table().to_pylist()
    }
    found = READERS[database](target)
    assert {name: text for name, (text, _) in found.items()} == {
        name: text for name, (text, _) in lake.items()
    }
    for name, (_, values) in lake.items():
        np.testing.assert_allclose(found[name][1], values, atol=1e-6)


def test_each_push_is_the_lake_s_rows_and_moves_only_what_changed(
    worn: Worn, database: str, tmp_path: Path
) -> None:
    target = str(tmp_path / "out")
    (first,) = pushed(worn, database, target).collections
    assert (first.collection, first.rows, first.rows_added, first.anew) == (
        NAME,
        8,
        8,
        "the collection was not there",
    )
    assert_same(worn, database, target)
    (again,) = pushed(worn, database, target).collections
    assert (again.rows_added, again.rows_removed, again.anew) == (0, 0, None)
    worn.night(texts(*"bcd") | {"s/b.txt": "other words"} | texts("e"))
    maintain(worn.lake, CORPUS, days=0)
    (changed,) = pushed(worn, database, target).collections
    assert (changed.rows, changed.rows_added, changed.rows_removed, changed.anew) == (8, 4, 4, None)
    assert_same(worn, database, target)


def test_a_push_that_died_half_way_is_completed_by_the_next(
    worn: Worn, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = str(tmp_path / "out")
    pushed(worn, database, target)
    worn.night(texts(*"bcdefgh"))
    real = work.exported
    calls = iter(range(10))

    def cut(*given: Any) -> Any:
        if next(calls) == 1:
            raise Killed
        return real(*given)

    monkeypatch.setattr(work, "exported", cut)
    with pytest.raises((Killed, LakeError)):  # Lance wraps what a reader of its rows raises
        pushed(worn, database, target)
    monkeypatch.undo()
    (done,) = pushed(worn, database, target).collections
    assert (done.rows, done.anew) == (14, None)
    assert_same(worn, database, target)


def test_another_space_is_refused_until_full(worn: Worn, database: str, tmp_path: Path) -> None:
    target = str(tmp_path / "out")
    pushed(worn, database, target)
    other = replace(worn, spec=HashSpec("other"), backfill=Backfill(model="other"))
    other.night(texts(*"abcd", version="two"))
    with pytest.raises(UsageError, match=rf"'{NAME}' holds space {worn.space.id}.*--full"):
        pushed(other, database, target)
    (done,) = pushed(other, database, target, full=True).collections
    assert (done.rows, done.anew) == (8, "--full")
    assert {text.split()[1] for text, _ in READERS[database](target).values()} == {"two"}


def test_each_width_is_a_collection(worn: Worn, database: str, tmp_path: Path) -> None:
    done = pushed(worn, database, str(tmp_path / "out"), widths=(8, 16)).collections
    assert [(one.collection, one.rows) for one in done] == [(f"{CORPUS}_16", 8), (NAME, 8)]
    assert_same(worn, database, str(tmp_path / "out"))


@pytest.mark.parametrize("kind", ["qdrant", "chroma"])
def test_a_missing_extra_is_named(
    kind: str, worn: Worn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, MODULES[kind], None)
    with pytest.raises(UsageError, match=rf"pip install 'embedlake\[{kind}\]'"):
        pushed(worn, kind, str(tmp_path / "out"))


@pytest.mark.usefixtures("s3_environment")
def test_a_lancedb_on_s3_has_one_version_for_the_rows_of_a_push(worn: Worn, bucket: str) -> None:
    target = f"s3://{bucket}/db"
    pushed(worn, "lancedb", target)
    table = Table(f"{target}/{NAME}.lance", Storage())
    before = table.open().version
    worn.night(texts(*"bcde"))
    pushed(worn, "lancedb", target)
    seen = [
        {row["uri"] for row in table.open(v).to_table(columns=["uri"]).to_pylist()}
        for v in (before, before + 1)
    ]
    assert seen == [{f"s/{n}.txt" for n in "abcd"}, {f"s/{n}.txt" for n in "bcde"}]
