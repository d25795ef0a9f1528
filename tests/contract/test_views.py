"""The views of `embedlake sql` have the names and columns that the contract gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.reader import LakeReader
from pipelines.sql import query
from schemas.contract import PAGE
from schemas.tables import ASSETS
from tests.lakes import make_lake


@pytest.fixture
def reader(tmp_path: Path) -> LakeReader:
    make_lake(str(tmp_path / "lake"), {"a.txt": "a cat"})
    return LakeReader.open(str(tmp_path / "lake"))


def promised() -> dict[str, str]:
    table = PAGE.read_text().partition("| view | rows |\n|---|---|\n")[2].partition("\n\n")[0]
    return {line.split("|")[1].strip(" `"): line.split("|")[2] for line in table.splitlines()}


def test_the_views_are_those_of_the_contract(reader: LakeReader) -> None:
    _, corpus = reader.corpus("demo")
    names = {n.replace("<corpus>", "demo").replace("<space>", corpus.live) for n in promised()}
    assert {row["name"] for row in query(reader, "show tables").to_pylist()} == names


def test_the_views_columns_are_those_of_the_contract(reader: LakeReader) -> None:
    assert query(reader, "from assets").column_names == ["corpus", *ASSETS.names]
    told = promised()["quarantine"].split(" of the")[0]
    assert query(reader, "from quarantine").column_names == [name.strip(" `") for name in told.split(",")]
    live = reader.segments("demo").schema
    assert query(reader, "from demo").column_names == live.names
