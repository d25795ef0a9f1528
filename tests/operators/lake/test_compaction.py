"""Compaction and erasure change fragments and files, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from operators.lake.compaction import compact
from operators.lake.erasure import erase
from operators.lake.files import find
from operators.lake.sweep import sweep
from operators.lake.tables import Table
from operators.lake.traces import Traces
from operators.storage import Storage, join
from schemas.errors import ConflictError, LakeError
from tests.pipelines.wear import EVER

DIM = 8
SCHEMA = pa.schema(
    [
        pa.field("uri", pa.string()),
        pa.field("text", pa.string()),
        pa.field("vector", pa.list_(pa.float32(), DIM)),
    ]
)


def vectors(uris: list[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
    seeds = [int.from_bytes(uri.encode()[-4:]) for uri in uris]
    return np.stack([np.random.default_rng(seed).random(DIM, np.float32) for seed in seeds])


def rows(*uris: str) -> pa.Table:
    data = pa.FixedSizeListArray.from_arrays(pa.array(vectors(list(uris)).ravel()), DIM)
    return pa.table(
        {"uri": list(uris), "text": [f"word{u} of text" for u in uris], "vector": data}, schema=SCHEMA
    )


@pytest.fixture
def table(place: str) -> Table:
    made = Table(join(place, "t.lance"), Storage())
    made.ensure(SCHEMA)
    return made


def filled(table: Table, fragments: int = 6, each: int = 50) -> int:
    staged = [
        s for f in range(fragments) for s in table.stage(rows(*(f"u{f:02d}{n:03d}" for n in range(each))))
    ]
    return table.commit("r1", 1, staged, [])


def index(table: Table) -> int:
    head = table.open()
    head.create_index("vector", "IVF_FLAT", num_partitions=2, metric="cosine")
    head.create_scalar_index("uri", "BTREE")
    head.create_scalar_index("text", "INVERTED", with_position=True, stem=False)
    return int(table.open().version)


def answers(table: Table, version: int) -> dict[str, object]:
    """What queries of each kind find."""
    found = table.open(version)
    query = vectors(["u03007"])[0]
    near = found.to_table(columns=["uri"], nearest={"column": "vector", "q": query, "k": 5, "nprobes": 2})
    return {
        "rows": sorted(found.to_table().to_pylist(), key=lambda row: row["uri"]),
        "ids": {r["uri"]: r["_rowid"] for r in found.to_table(columns=["uri"], with_row_id=True).to_pylist()},
        "near": near["uri"].to_pylist(),
        "equal": found.to_table(filter="uri = 'u02011'")["text"].to_pylist(),
        "words": found.to_table(full_text_query="wordu04004").num_rows,
    }


def test_compaction_leaves_fewer_fragments_the_same_answers_and_full_indices(table: Table) -> None:
    filled(table)
    indexed = index(table)
    gone = [f"u{f:02d}{n:03d}" for f in range(6) for n in range(0, 50, 4)]
    base = table.commit("r2", indexed, table.stage(rows("u03007", "v")), [*gone, "u03007"])
    before = answers(table, base)
    version = compact(table, base)
    assert answers(table, version) == before
    after = table.open(version)
    assert (len(table.open(base).get_fragments()), len(after.get_fragments())) == (7, 1)
    assert after.get_fragments()[0].num_deletions == 0
    assert {i.num_rows_indexed for i in after.describe_indices()} == {after.count_rows()}
    assert compact(table, version) == version, "there is nothing more to gain"


def test_compaction_is_of_the_pinned_version_not_of_what_a_dead_run_left_above(table: Table) -> None:
    base = filled(table)
    table.commit("dead", base, table.stage(rows("never published")), [])
    version = compact(table, base)
    assert "never published" not in table.open(version).to_table()["uri"].to_pylist()
    assert table.landed("dead", version) is None


def test_a_compaction_that_a_run_overtook_is_refused(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    base = filled(table)
    real = Table.on_top

    def overtaken(self: Table, version: int) -> Any:
        head = real(self, version)
        monkeypatch.setattr(Table, "on_top", real)
        Table(self.uri, self.storage).commit("r2", version, self.stage(rows("theirs")), [])
        return head

    monkeypatch.setattr(Table, "on_top", overtaken)
    with pytest.raises(ConflictError, match="at the same time"):
        compact(table, base)


def test_an_erased_asset_is_in_no_file_after_the_sweep(table: Table) -> None:
    filled(table)
    base = index(table)
    base = table.commit("r2", base, table.stage(rows("u01001")), ["u01001"])
    erased = erase(table, base, Traces(["u01001", "u01002"]))
    assert erased.rows == 2
    sweep(table, erased.version, frozenset(), frozenset(), EVER).run(table)
    left = b"".join(table.storage.read(file.uri) for file in find(table.storage, table.uri))
    for secret in (b"u01001", vectors(["u01002"])[0].tobytes(), vectors(["u01001"])[0].tobytes()):
        assert secret not in left
    assert vectors(["u01003"])[0].tobytes() in left, "the search would find it"
    found = table.open()
    assert found.to_table(full_text_query="wordu01001").num_rows == 0
    assert found.to_table(full_text_query="wordu01003").num_rows == 1
    terms = {
        i.name: found.stats.index_stats(i.name)
        for i in found.describe_indices()
        if i.index_type == "Inverted"
    }
    assert [s["indices"][0]["num_docs"] for s in terms.values()] == [298]


def test_rows_that_an_earlier_run_deleted_are_erased_too(table: Table) -> None:
    base = table.commit("r2", filled(table), [], ["u01001"])
    erased = erase(table, base, Traces(["u01001"]))
    assert erased.rows == 0
    assert erased.version > base
    sweep(table, erased.version, frozenset(), frozenset(), EVER).run(table)
    left = b"".join(table.storage.read(file.uri) for file in find(table.storage, table.uri))
    assert vectors(["u01001"])[0].tobytes() not in left


def test_erasing_what_was_never_there_makes_no_version(table: Table) -> None:
    base = filled(table)
    assert erase(table, base, Traces(["never"])).version == base


def test_a_table_without_uris_cannot_be_searched(place: str) -> None:
    table = Table(join(place, "odd.lance"), Storage())
    table.ensure(pa.schema([pa.field("n", pa.int64())]))
    with pytest.raises(LakeError, match=r"odd\.lance has no column uri"):
        erase(table, 1, Traces(["a"]))
