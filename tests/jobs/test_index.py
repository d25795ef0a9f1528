"""`embedlake index`, and what `search` makes of it, as a person sees them."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.errors import ExitCode
from tests.jobs.conftest import Command
from tests.lakes import make_lake


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_model: str) -> tuple[str, ...]:
    """The flags that name a lake of 400 rows, and its model."""
    make_lake(str(tmp_path / "lake"), {f"{n}.txt": f"row{n} of a table" for n in range(400)})
    monkeypatch.setenv("EMBEDLAKE_LAKE", str(tmp_path / "lake"))
    return ("search", "row7 of a table", "--model", one_model)


def test_an_index_says_what_it_keeps_and_a_search_what_it_read(
    embedlake: Command, asked: tuple[str, ...]
) -> None:
    done = embedlake("index", "--kind", "IVF_PQ", "--width", "16")
    assert done.code == ExitCode.OK
    assert "400 rows; indexed: embedding_16, modality, run_id, segment_id, text, uri" in done.out
    assert "a search looks in IVF_PQ of width 16, " in done.out
    assert "indexing width 16 ..." in done.err
    told = embedlake(*asked, "--explain")
    lines = [line.split()[0] for line in told.out.splitlines() if line.strip()]
    assert lines[lines.index("stage") + 1 :] == ["embed", "find", "rank", "read"]
    found = embedlake(*asked, "--explain", "--json").json
    assert found["hits"][0]["uri"] == "7.txt"
    assert [stage["stage"] for stage in found["stages"]] == ["embed", "find", "rank", "read"]
    assert set(found["stages"][1]) == {"stage", "over", "rows", "bytes_read", "ms"}
    assert "stages" not in embedlake(*asked, "--json").json


def test_an_exact_a_hybrid_and_a_search_of_assets_are_asked_for(
    embedlake: Command, asked: tuple[str, ...]
) -> None:
    for flags in (("--exact",), ("--hybrid",), ("--by-asset",), ("--hybrid", "--by-asset", "--exact")):
        hits = embedlake(*asked, *flags, "--json").json["hits"]
        assert hits[0]["uri"] == "7.txt"
        assert ("fused" in hits[0]) == ("--hybrid" in flags)


def test_indices_are_dropped_and_built_as_json(embedlake: Command, asked: tuple[str, ...]) -> None:
    built = embedlake("index", "--json").json
    assert built["finder"] is None
    assert built["columns"] == ["modality", "run_id", "segment_id", "text", "uri"]
    assert "compares every row" in embedlake("index").out
    assert embedlake("index", "--drop", "--json").json["columns"] == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--width", "7"), "width 7 is not in the space; choose one of 32, 16, 8"),
        (("--drop", "--width", "16"), "--drop drops all indices"),
        (("--kind", "IVF_FLAT"), "IVF_FLAT"),
    ],
)
def test_a_wrong_index_says_what_is_wrong(
    embedlake: Command, asked: tuple[str, ...], flags: tuple[str, ...], said: str
) -> None:
    done = embedlake("index", *flags)
    assert done.code == ExitCode.USAGE
    assert said in done.err.splitlines()[-1]
