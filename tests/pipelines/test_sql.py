"""SQL over a lake: it answers, and it can neither change anything nor see what it was not given."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from operators.lake.layout import Layout
from pipelines.reader import LakeReader
from pipelines.sql import query
from schemas.errors import LakeError, UsageError
from schemas.space import Space
from tests.lakes import make_lake

secret = pa.table({"key": ["of this process"]})


@pytest.fixture
def lake(tmp_path: Path) -> str:
    return str(tmp_path / "lake")


@pytest.fixture
def space(lake: str) -> Space:
    make_lake(lake, {"x.txt": "other"}, corpus="side")
    return make_lake(lake, {"a.txt": "a cat", "b.txt": "a boat"})


@pytest.fixture
def reader(lake: str, space: Space) -> LakeReader:
    return LakeReader.open(lake)


def test_every_view_answers(reader: LakeReader, space: Space) -> None:
    def rows(statement: str) -> list[dict[str, object]]:
        found: list[dict[str, object]] = query(reader, statement).to_pylist()
        return found

    assert rows("select uri from demo order by uri") == [{"uri": "a.txt"}, {"uri": "b.txt"}]
    assert rows(f'select count(*) as n from "demo__{space.id}"') == [{"n": 2}]
    assert rows("select count(*) as n from demo__assets") == [{"n": 3}]
    assert rows("select distinct corpus from assets order by 1") == [{"corpus": "demo"}, {"corpus": "side"}]
    assert rows("select error_code from QUARANTINE where corpus = 'demo'") == [{"error_code": "corrupt"}]
    assert rows("select count(*) as n from runs") == [{"n": 0}]
    assert rows("select count(*) as n from demo join side using (modality)") == [{"n": 2}]
    assert rows("select round(array_cosine_similarity(embedding_8, embedding_8), 3) as s from side") == [
        {"s": 1}
    ]
    assert rows("pivot demo on uri using count(*) group by modality")[0]["a.txt"] == 1
    assert {"demo", "side", "runs", "quarantine"} <= {row["name"] for row in rows("show tables")}


@pytest.mark.parametrize(
    "statement",
    [
        "copy (select 1) to '{lake}/out.csv'",
        "copy (select 1) to '.tmp/out.csv'",
        "copy demo from '{lake}/in.csv'",
        "export database '{lake}/dump'",
        "attach '{lake}/new.db'",
        "from read_text('/etc/passwd')",
        "from read_csv('{lake}/in.csv')",
        "from '{lake}/in.csv'",
        "from glob('/etc/*')",
        "set threads = 1",
        "set enable_external_access = true",
        "reset lock_configuration",
        "pragma profiling_output = '{lake}/profile.json'",
        "install httpfs",
        "load httpfs",
        "from secret",
        "set python_scan_all_frames = true; from secret",
        "from nowhere",
        "select cast(uri as int) from demo",
        "from demo where cast(uri as int) = 1",
        "delete from demo",
        "insert into demo (uri) values ('x')",
        "drop table demo",
        "select embed_image('/etc/passwd', corpus := 'demo')",
        "from vector_search('demo', embed_image('/etc/passwd'))",
        "from read_parquet('{lake}/demo/spaces/x.lance')",
        "from 's3://bucket/x.parquet'",
        "nonsense",
    ],
)
def test_a_statement_reaches_nothing_but_the_views(
    reader: LakeReader, lake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    (tmp_path / ".tmp").mkdir()
    monkeypatch.chdir(tmp_path)
    Path(lake, "in.csv").write_text("a\n1\n")
    before = sorted(tmp_path.rglob("*"))
    secret = pa.table({"key": ["of this frame"]})
    with pytest.raises(UsageError, match=r"^SQL: "):
        query(reader, statement.format(lake=lake))
    assert secret.num_rows == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_only_what_a_statement_names_is_opened(reader: LakeReader, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    segments, assets, runs = LakeReader.segments, LakeReader.assets, LakeReader.runs_table

    def open_segments(self: LakeReader, name: str, space: str | None = None) -> object:
        opened.append(name)
        return segments(self, name, space)

    def open_assets(self: LakeReader, name: str) -> object:
        opened.append(f"{name} assets")
        return assets(self, name)

    def open_runs(self: LakeReader) -> pa.Table:
        opened.append("runs")
        return runs(self)

    monkeypatch.setattr(LakeReader, "segments", open_segments)
    monkeypatch.setattr(LakeReader, "assets", open_assets)
    monkeypatch.setattr(LakeReader, "runs_table", open_runs)
    query(reader, "select count(*) from Demo")
    assert opened == ["demo"]
    opened.clear()
    query(reader, "with quick as (select * from runs) select * from quick")
    assert opened == ["runs"]
    opened.clear()
    query(reader, "select count(*) from quarantine")
    assert opened == ["side assets", "demo assets"]


def test_columns_of_one_name_are_kept_apart(reader: LakeReader) -> None:
    table = query(reader, "select 1 as a, 2 as a, 3 as b")
    assert table.to_pylist() == [{"a": 1, "a_1": 2, "b": 3}]


def test_a_table_that_cannot_be_read_is_the_lake_s_fault(reader: LakeReader, lake: str, space: Space) -> None:
    for file in Path(Layout(lake).space("demo", space.id), "data").iterdir():
        file.unlink()
    with pytest.raises(LakeError, match="cannot read"):
        query(reader, "select text from demo")
