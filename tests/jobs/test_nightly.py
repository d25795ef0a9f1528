"""`embedlake nightly`: one corpus' failure is its own, and cron gets an exit code, lines and a report to trust."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from jobs.settings import load_nightly
from operators.storage import Storage, join
from pipelines import nightly
from pipelines.embed import EmbedJob
from pipelines.reader import LakeReader
from schemas.config import Policy
from schemas.errors import ExitCode, ModelError, SourceError, UsageError
from schemas.nightly import SEVERITY, worst
from schemas.report import Counts, RunReport
from tests.jobs.conftest import Command

REPORT = RunReport(
    run_id="r",
    corpus="c",
    lake="lake",
    space="s",
    model="m",
    started_at=datetime(2026, 11, 1, tzinfo=UTC),
    finished_at=datetime(2026, 11, 1, tzinfo=UTC),
    counts=Counts(),
    quarantine_reasons={},
    published_version=None,
    seconds={},
    log="",
)
README = Path(__file__).resolve().parents[2] / "README.md"


def config(folder: Path, **keys: Any) -> str:
    path = folder / "corpus.yaml"
    path.write_text(yaml.safe_dump(keys))
    return str(path)


def corpora(model: str, **sources: str) -> list[dict[str, Any]]:
    return [{"name": name, "sources": [source], "model": model} for name, source in sources.items()]


@pytest.mark.usefixtures("local_ray")
def test_a_failing_corpus_stops_no_other_and_its_code_is_the_night_s(
    embedlake: Command, hashed_model: str, place: str, tmp_path: Path
) -> None:
    for name in ("first", "last"):
        Storage().put(join(place, name, "a.txt"), f"the words of {name}".encode())
    folders = {n: join(place, n) for n in ("first", "absent", "last")}
    lake, kept = join(place, "lake"), join(place, "nights")
    file = config(tmp_path, lake=lake, report=kept, corpora=corpora(hashed_model, **folders))

    said = embedlake("nightly", "--config", file, "--json")
    assert said.code == ExitCode.SOURCE
    night = said.json
    assert [(c["corpus"], c["status"], c["exit_code"]) for c in night["corpora"]] == [
        ("first", "done", 0),
        ("absent", "failed", ExitCode.SOURCE),
        ("last", "done", 0),
    ]
    assert night["exit_code"] == ExitCode.SOURCE
    assert "not found" in night["corpora"][1]["error"]
    assert night["corpora"][2]["report"]["counts"]["embedded"] == 1
    assert night["corpora"][2]["maintenance"]["fragments"] == 2, "of its space and of its assets"
    assert night["corpora"][1]["maintenance"] is None
    assert sorted(LakeReader.open(lake).catalog.corpora) == ["first", "last"]
    (name,) = Storage().names(kept)
    assert json.loads(Storage().read(join(kept, name))) == night

    lines = [line for line in said.err.splitlines() if line]
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ (first|absent|last): \S", line) for line in lines)
    assert any("first: published version 2: 1 embedded, 0 quarantined" in line for line in lines)
    assert any("absent: failed, exit code 3: not found" in line for line in lines)
    assert "\x1b" not in said.err, "no live display in a log"

    again = embedlake("nightly", "--config", file, "--only", "last", "--only", "first")
    assert again.code == ExitCode.OK
    assert "2 of 2 corpora" in again.out
    assert again.err.count("nothing to publish: 0 embedded, 0 quarantined, 1 unchanged") == 2


def _ends(monkeypatch: pytest.MonkeyPatch, how: Callable[[EmbedJob], RunReport]) -> None:
    monkeypatch.setattr(EmbedJob, "run", how)


def test_what_is_built_beside_goes_on_when_every_corpus_had_its_night(
    embedlake: Command, hashed_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def ran(job: EmbedJob) -> RunReport:
        seen.append(f"night of {job.corpus}")
        if job.corpus == "b":
            raise SourceError("gone")
        return REPORT.model_copy(update={"corpus": job.corpus})

    def went_on(job: EmbedJob, hours: float | None) -> tuple[()]:
        seen.append(f"beside {job.corpus}")
        if job.corpus == "c":
            raise ModelError("the new model is gone")
        return ()

    _ends(monkeypatch, ran)
    monkeypatch.setattr(nightly, "continue_all", went_on)
    entries = corpora(hashed_model, a="x", b="x", c="x", d="x")
    said = embedlake(
        "nightly", "--config", config(tmp_path, lake="lake", maintenance=None, corpora=entries), "--json"
    )
    assert seen == [*(f"night of {name}" for name in "abcd"), *(f"beside {name}" for name in "acd")]
    found = [(c["status"], c["exit_code"], c["report"] is None) for c in said.json["corpora"]]
    assert found == [
        ("done", 0, False),
        ("failed", ExitCode.SOURCE, True),
        ("failed", ExitCode.MODEL, False),
        ("done", 0, False),
    ]
    assert said.code == ExitCode.MODEL


def test_an_interrupted_night_starts_nothing_more(
    embedlake: Command, hashed_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(job: EmbedJob) -> RunReport:
        raise SourceError("gone") if job.corpus == "a" else KeyboardInterrupt

    _ends(monkeypatch, stop)
    file = config(tmp_path, lake="lake", corpora=corpora(hashed_model, a="x", b="x", c="x"))
    said = embedlake("nightly", "--config", file, "--json")
    assert said.code == ExitCode.INTERRUPTED
    assert [c["status"] for c in said.json["corpora"]] == ["failed", "failed", "not run"]
    assert "the same command continues" in said.json["corpora"][1]["error"]


def test_an_error_that_nobody_foresaw_and_a_model_that_is_missing_are_one_corpus_each(
    embedlake: Command, hashed_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(job: EmbedJob) -> RunReport:
        raise RuntimeError("odd\nthing")

    _ends(monkeypatch, stop)
    entries = corpora(hashed_model, a="x", b="x")
    entries[1]["model"] = "./no-such-model"
    said = embedlake("nightly", "--config", config(tmp_path, lake="lake", corpora=entries), "--json")
    found = [(c["exit_code"], c["error"]) for c in said.json["corpora"]]
    assert found[0] == (ExitCode.FAILED, "RuntimeError: odd thing")
    assert found[1][0] == ExitCode.MODEL
    assert f"{tmp_path}/./no-such-model" in found[1][1], "a path of the file starts at the file"
    assert said.code == ExitCode.FAILED


def test_a_report_that_cannot_be_kept_is_told(
    embedlake: Command, hashed_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(job: EmbedJob) -> RunReport:
        raise SourceError("gone")

    _ends(monkeypatch, stop)
    (tmp_path / "nights").write_text("a file, not a folder")
    file = config(tmp_path, lake="lake", report="nights", corpora=corpora(hashed_model, a="x"))
    said = embedlake("nightly", "--config", file)
    assert said.code == ExitCode.LAKE, "worse than the source's"
    assert "the report was not kept" in said.out


@pytest.mark.parametrize(
    ("keys", "about"),
    [
        ({"lake": "l"}, "corpora: Field required"),
        ({"lake": "l", "corpora": []}, "corpora"),
        ({"lake": "l", "corpora": [{"name": "a", "sources": []}]}, "corpora.0.sources"),
        ({"lake": "l", "corpora": [{"name": "a", "sources": ["x"], "modle": "m"}]}, "corpora.0.modle"),
        ({"lake": "l", "corpora": [{"name": "a", "sources": ["x"]}] * 2}, "'a' is there twice"),
        ({"lake": "l", "corpora": [{"name": "A b", "sources": ["x"]}]}, "corpus name 'A b' is not allowed"),
        ({"lake": "l", "corpora": [{"name": "a", "sources": ["x"], "coverage_floor": 2}]}, "coverage_floor"),
        ({"lake": "gopher://l", "corpora": [{"name": "a", "sources": ["x"]}]}, "unknown scheme"),
    ],
)
def test_a_wrong_config_is_one_line_and_runs_nothing(
    embedlake: Command, tmp_path: Path, keys: dict[str, Any], about: str
) -> None:
    said = embedlake("nightly", "--config", config(tmp_path, **keys))
    assert said.code == ExitCode.USAGE
    assert about in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "l").exists()


def test_a_corpus_that_is_not_in_the_file_is_a_mistake(embedlake: Command, tmp_path: Path) -> None:
    file = config(tmp_path, lake="l", corpora=corpora("m", a="x"))
    said = embedlake("nightly", "--config", file, "--only", "b")
    assert (said.code, "no corpus 'b'" in said.err) == (ExitCode.USAGE, True)
    assert embedlake("nightly", "--config", f"{tmp_path}/absent.yaml").code == ExitCode.USAGE


def test_relative_paths_start_at_the_file_and_other_names_stay(tmp_path: Path) -> None:
    own = {
        "name": "a",
        "sources": ["data/", "s3://b/p", "/abs"],
        "allow": ["../media"],
        "recipe": "mine.yaml",
    }
    other = {"name": "b", "sources": ["x"], "recipe": "debug", "model": "google/embeddinggemma-2"}
    loaded = load_nightly(
        Path(config(tmp_path, lake="s3://bucket/lake", report="nights", corpora=[own, other]))
    )
    a, b = loaded.corpora
    assert a.sources == (f"{tmp_path}/data/", "s3://b/p", "/abs")
    assert (a.allow, a.recipe) == ((f"{tmp_path}/../media",), f"{tmp_path}/mine.yaml")
    assert (b.recipe, b.model) == ("debug", "google/embeddinggemma-2")
    assert (loaded.lake, loaded.report) == ("s3://bucket/lake", f"{tmp_path}/nights")


def test_a_corpus_policy_replaces_only_what_it_names(tmp_path: Path) -> None:
    entry = {"name": "a", "sources": ["x"], "coverage_floor": 0.5, "exclude": ["*.tmp"], "max_assets": 9}
    file = config(tmp_path, lake="l", policy={"wait_minutes": 30, "max_deleted": 0.1}, corpora=[entry])
    loaded = load_nightly(Path(file))
    assert loaded.corpora[0].policy(loaded.policy) == Policy(
        coverage_floor=0.5, wait_minutes=30, max_deleted=0.1
    )
    chosen = loaded.corpora[0].selection
    assert (chosen.exclude, chosen.max_assets, chosen.full) == (("*.tmp",), 9, False)


def test_the_severity_knows_every_exit_code_once() -> None:
    assert sorted(SEVERITY) == sorted(ExitCode)
    assert (SEVERITY[0], SEVERITY[-1]) == (ExitCode.INTERRUPTED, ExitCode.OK)


@given(st.lists(st.sampled_from(ExitCode), min_size=1))
def test_a_night_is_well_only_when_every_part_is(codes: list[ExitCode]) -> None:
    assert worst(codes) in codes
    assert (worst(codes) is ExitCode.OK) == (set(codes) == {ExitCode.OK})
    assert worst([*codes, ExitCode.INTERRUPTED]) is ExitCode.INTERRUPTED
    assert worst([]) is ExitCode.OK


def test_the_readme_documents_every_exit_code() -> None:
    _, _, table = README.read_text().partition("| exit code | meaning |")
    documented = re.findall(r"^\| (\d+) \| (.+) \|$", table.split("\n\n")[0], re.MULTILINE)
    assert [int(number) for number, _ in documented] == sorted(ExitCode)


def test_a_usage_error_of_one_corpus_s_recipe_is_that_corpus_alone(
    embedlake: Command, hashed_model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(job: EmbedJob) -> RunReport:
        raise UsageError("reached")

    _ends(monkeypatch, stop)
    entries = corpora(hashed_model, a="x", b="x")
    entries[0]["recipe"] = "nonsense"
    said = embedlake("nightly", "--config", config(tmp_path, lake="l", corpora=entries), "--json")
    assert "no recipe 'nonsense'" in said.json["corpora"][0]["error"]
    assert said.json["corpora"][1]["error"] == "reached"
