"""The commands of a model upgrade, as a person runs them: backfill, compare, promote, rollback, spaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from operators.model.registry import FAMILIES
from schemas.errors import ExitCode
from tests.jobs.conftest import Command


@pytest.mark.usefixtures("local_ray")
def test_a_model_is_upgraded_and_the_old_one_dropped(
    embedlake: Command, hashed_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "salted", "tests.models.salted:SaltedSpec")
    model, source, lake = tmp_path / "newer", tmp_path / "in", str(tmp_path / "lake")
    model.mkdir()
    (model / "embedlake.json").write_text('{"family": "salted"}')
    source.mkdir()
    for n in range(24):
        (source / f"{n}.txt").write_text(f"note {n} word{n} of the harbour")
    golden, out = tmp_path / "golden.yaml", tmp_path / "report.html"
    golden.write_text(f"queries:\n- query: word3\n  expected: [{source}/3.txt]\n")
    of = ("--lake", lake)
    assert embedlake("embed", str(source), *of, "--model", hashed_model).code == ExitCode.OK

    said = embedlake("backfill", *of)
    assert (said.code, "0 spaces of corpus 'corpus' are being built" in said.err) == (ExitCode.USAGE, True)
    done = embedlake("backfill", *of, "--model", str(model), "--json").json
    assert (done["complete"], done["coverage"], done["embedded"]) == (True, 1.0, 24)
    assert embedlake("backfill", *of, "--json").json["embedded"] == 0, "it is under way, and complete"
    (source / "24.txt").write_text("note 24 word24 not moved yet")
    assert embedlake("embed", str(source), *of, "--model", hashed_model).code == ExitCode.OK
    shown = {s["live"]: s["space"] for s in embedlake("spaces", "list", *of, "--json").json["spaces"]}
    old, new = shown[True], shown[False]

    searched_as_one(embedlake, lake, (old, new), hashed_model, f"{source}/24.txt")
    assert embedlake("backfill", *of, "--json").json["embedded"] == 1

    said = embedlake("promote", new, *of)
    assert (said.code, f"embedlake compare {old} {new}" in said.err) == (ExitCode.COVERAGE, True)
    models = ("--old-model", hashed_model, "--new-model", str(model))
    words = ("compare", old[:6], "newer", *of, "--golden", str(golden), *models, "--out", str(out), "--json")
    found = embedlake(*words).json
    assert found["failures"] == []
    assert len(found["golden"]) == 5
    assert new in out.read_text()
    assert embedlake("promote", "newer", *of, "--json").json["live"] == new
    assert (
        embedlake("search", "word3", *of, "--model", str(model), "--json")
        .json["hits"][0]["uri"]
        .endswith("3.txt")
    )
    assert embedlake("rollback", *of, "--json").json["live"] == old
    assert embedlake("promote", new, *of).code == ExitCode.OK
    said = embedlake("spaces", "drop", old, *of)
    assert (said.code, "add --yes" in said.err) == (ExitCode.USAGE, True)
    assert embedlake("spaces", "drop", old, *of, "--yes").code == ExitCode.OK
    assert embedlake("rollback", *of).code == ExitCode.USAGE
    assert "live" in embedlake("spaces", "list", *of).out
    assert embedlake("spaces", "show", new, *of, "--json").json["card"]["family"] == "salted"
    assert embedlake("status", *of, "--json").json["corpora"][0]["space"] == new


def searched_as_one(embedlake: Command, lake: str, spaces: tuple[str, str], model: str, last: str) -> None:
    """What has not moved yet is found in the old space, among what has."""
    of = ("--lake", lake, "--model", model)
    both = ("search", "word24 not moved yet", *of, "--spaces", f"{spaces[0]},newer")
    hit = embedlake(*both, "--json").json["hits"][0]
    assert (hit["space"], hit["uri"]) == (spaces[0], last)
    assert embedlake(*both, "--rerank", "9", "--json").json["hits"][0]["uri"] == last
    said = embedlake("search", "word12", *of, "--spaces", spaces[0])
    assert (said.code, "two spaces, not 1" in said.err) == (ExitCode.USAGE, True)
    assert embedlake("search", "word12", *of, "--rerank", "9").code == ExitCode.USAGE
    said = embedlake(*both, "--bridge")
    assert (said.code, "--bridge wants 100 segments" in said.err) == (ExitCode.USAGE, True)


@pytest.mark.usefixtures("local_ray")
def test_widths_are_measured_dropped_and_added_back(
    embedlake: Command, hashed_model: str, tmp_path: Path
) -> None:
    source, of = tmp_path / "in", ("--lake", str(tmp_path / "lake"))
    source.mkdir()
    for n in range(12):
        (source / f"{n}.txt").write_text(f"note {n} word{n} of the harbour")
    assert embedlake("embed", str(source), *of, "--model", hashed_model).code == ExitCode.OK
    found = embedlake("widths", *of, "--look", "4", "--json").json
    assert [(w["width"], w["stored"]) for w in found["widths"]] == [
        (32, True),
        (16, True),
        (8, True),
        (4, False),
    ]
    assert found["widths"][0]["recall"] == 1
    said = embedlake("widths", *of, "--drop", "16")
    assert (said.code, "do it with --yes" in said.out) == (ExitCode.OK, True)
    assert embedlake("widths", *of, "--drop", "16", "--yes", "--json").json["widths"] == [32, 8]
    ask = ("search", "word3", *of, "--model", hashed_model, "--width", "16")
    assert embedlake(*ask).code == ExitCode.USAGE
    (source / "12.txt").write_text("note 12 word12 of the harbour")
    done = embedlake("embed", str(source), *of, "--model", hashed_model, "--json").json
    assert (done["embedded"], done["unchanged"]) == (1, 12), "the space is the same one"
    assert "32, 16, 8" in embedlake("widths", *of, "--add", "16", "--yes").out
    assert embedlake(*ask, "--json").json["hits"][0]["uri"].endswith("3.txt")
    again = embedlake("widths", *of, "--drop", "32", "--yes")
    assert (again.code, "width 32 is the full one" in again.err) == (ExitCode.USAGE, True)
