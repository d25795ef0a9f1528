"""The commands that group a corpus: dedup and cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ExitCode
from tests.jobs.conftest import Command
from tests.pipelines.wear import Worn, texts


@pytest.fixture
def lake(tmp_path: Path) -> str:
    made = Worn(str(tmp_path / "lake"))
    made.night({**texts(*"abcdef"), "s/a copy.txt": "secreta one"})
    return made.lake


def test_dedup_says_what_could_go_and_sql_shows_the_rows(
    embedlake: Command, lake: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    said = embedlake("dedup", "--lake", lake, "--threshold", "0.9")
    assert said.code == ExitCode.OK, said.err
    for words in (
        "14 segments of worn-",
        "2 groups hold 4 of them",
        "segments that could go: 2, of them of the same content: 0",
        "assets that could go whole: 1, 0.0 MB at their source",
        "s/a copy.txt  1.000",
    ):
        assert words in said.out
    assert said.err.splitlines() == ["read: demo", "group: 14 segments"]
    rows = embedlake("sql", "select count(*) as n from demo__duplicates", "--lake", lake, "--json").json
    assert rows["rows"] == [{"n": 4}]


def test_both_commands_speak_json(embedlake: Command, lake: str) -> None:
    said = embedlake("dedup", "--lake", lake, "--width", "16", "--modality", "text", "--json")
    assert (said.code, said.err) == (ExitCode.OK, "")
    found = said.json
    assert (found["groups"], found["width"], found["exhaustive"], found["recall"]) == (2, 16, True, None)
    assert [one["uri"] for one in found["largest"][0]["examples"]] == ["s/a copy.txt", "s/a.txt"]
    said = embedlake("cluster", "--lake", lake, "-k", "3", "--seed", "1", "--json")
    assert (said.code, said.err) == (ExitCode.OK, "")
    found = said.json
    assert sum(one["rows"] for one in found["clusters"]) == found["rows"] == 14
    assert {"cluster", "rows", "label", "central"} == set(found["clusters"][0])


def test_cluster_shows_words_and_central_segments(embedlake: Command, lake: str) -> None:
    said = embedlake("cluster", "--lake", lake, "--k", "2")
    assert said.code == ExitCode.OK, said.err
    for words in ("14 segments of worn-", "2 clusters, fitted on 14 segments", "secreta", "demo__clusters"):
        assert words in " ".join(said.out.split())


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("dedup", "--threshold", "0"), ExitCode.USAGE, "--threshold 0 is no cosine"),
        (("dedup", "--width", "5"), ExitCode.USAGE, "width 5"),
        (("cluster", "-k", "99"), ExitCode.USAGE, "-k 99"),
        (("cluster", "--space", "none"), ExitCode.LAKE, "no space 'none'"),
        (("cluster", "--corpus", "none"), ExitCode.LAKE, "no corpus 'none'"),
    ],
)
def test_mistakes_are_one_line(
    embedlake: Command, lake: str, words: tuple[str, ...], code: ExitCode, told: str
) -> None:
    said = embedlake(*words, "--lake", lake, "--json")
    assert (said.code, said.out) == (code, "")
    assert len(said.err.splitlines()) == 1
    assert told in said.err
