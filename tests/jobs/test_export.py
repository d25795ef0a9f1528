"""`embedlake export` and `embedlake connect`: a document for scripts, sentences for people, a line for mistakes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import ExitCode
from tests.jobs.conftest import Cli
from tests.pipelines.wear import Worn, texts


@pytest.fixture
def worn(tmp_path: Path) -> Worn:
    made = Worn(str(tmp_path / "lake"))
    made.night(texts(*"abc"))
    return made


def test_an_export_says_what_it_wrote_and_why(cli: Cli, worn: Worn, tmp_path: Path) -> None:
    words = ("export", "--lake", worn.lake, "--to", f"{tmp_path}/out", "--width", "8", "--dtype", "int8")
    assert "everything is written: the target was empty" in cli(*words)
    assert "nothing has changed" in cli(*words)
    worn.night(texts(*"bcd"))
    done = json.loads(cli(*words, "--json"))
    assert (done["rows"], done["rows_added"], done["rows_removed"], done["anew"]) == (6, 2, 2, None)


def test_mistakes_in_an_export_are_one_line(cli: Cli, worn: Worn, tmp_path: Path) -> None:
    to = ("export", "--lake", worn.lake, "--to", f"{tmp_path}/out")
    cli(*to)
    assert "--full to replace it" in cli(*to, "--width", "8", code=ExitCode.USAGE)
    assert "belong to --format parquet" in cli(
        *to, "--format", "lancedb", "--dtype", "int8", code=ExitCode.USAGE
    )
    assert "no space" in cli(*to, "--space", "absent", code=ExitCode.LAKE)
    assert "lies in the lake" in cli(
        "export", "--lake", worn.lake, "--to", f"{worn.lake}/x", code=ExitCode.USAGE
    )
    into = ("export", "--lake", worn.lake, "--format", "lancedb", "--to", f"{worn.lake}/demo/spaces")
    assert "lies in the lake" in cli(*into, code=ExitCode.USAGE)
    qdrant = ("export", "--lake", worn.lake, "--format", "qdrant", "--to")
    pytest.importorskip("qdrant_client", reason="needs the extra 'qdrant'")
    told = cli(*qdrant, "http://name:hidden@127.0.0.1:1", code=ExitCode.USAGE)
    assert "QDRANT_API_KEY" in told
    assert "hidden" not in told
    assert "Qdrant at http://127.0.0.1:1" in cli(*qdrant, "http://127.0.0.1:1", code=ExitCode.LAKE)


def test_a_push_says_what_each_collection_holds(cli: Cli, worn: Worn, tmp_path: Path) -> None:
    words = ("export", "--lake", worn.lake, "--to", f"{tmp_path}/out", "--format", "lancedb", "--width", "8")
    assert "demo_8 in" in cli(*words)
    (one,) = json.loads(cli(*words, "--json"))["collections"]
    assert (one["collection"], one["rows"], one["rows_added"], one["anew"]) == ("demo_8", 6, 0, None)


def test_connect_prints_lines_for_one_tool_or_for_all(cli: Cli, worn: Worn, tmp_path: Path) -> None:
    assert "version='live'" in cli("connect", "--lake", worn.lake, "--tool", "duckdb")
    assert "version=2" in cli("connect", "--lake", worn.lake, "--tool", "duckdb", "--pin")
    assert "# lancedb" in cli("connect", "--lake", worn.lake)
    cli("export", "--lake", worn.lake, "--to", f"{tmp_path}/out")
    found = json.loads(cli("connect", "--export", f"{tmp_path}/out", "--json"))
    assert sorted(found) == ["bigquery", "datafusion", "duckdb", "pandas", "polars", "pyarrow", "spark"]
    assert "no export at" in cli("connect", "--export", f"{tmp_path}/none", code=ExitCode.LAKE)
    assert "give --lake or --export" in cli("connect", code=ExitCode.USAGE)
    assert "embedlake export" in cli("connect", "--lake", worn.lake, "--tool", "spark", code=ExitCode.USAGE)


def test_an_export_is_connected_to_whatever_corpus_the_environment_names(
    cli: Cli, worn: Worn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("export", "--lake", worn.lake, "--to", f"{tmp_path}/out")
    monkeypatch.setenv("EMBEDLAKE_CORPUS", "demo")
    assert "read_parquet" in cli("connect", "--tool", "duckdb", "--export", f"{tmp_path}/out")
