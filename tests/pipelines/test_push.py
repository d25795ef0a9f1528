"""Push into vector databases: what is found there is the lake's rows, whatever happened before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.storage import Storage
from pipelines.export.push import Pushed, push
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from schemas.export import DType, ExportSpec
from tests.pipelines.wear import CORPUS, Worn, texts

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
