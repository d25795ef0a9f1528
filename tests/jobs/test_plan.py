"""`embedlake plan` as people and scripts see it, and the recipes that ship."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.settings import RECIPES, load_recipe
from operators.storage import Storage, join
from schemas.errors import ExitCode, UsageError
from schemas.recipe import Recipe
from tests.jobs.conftest import Command


@pytest.fixture
def texts(place: str) -> str:
    for name, words in {"a.txt": 3, "b.txt": 5, "deep/c.md": 7, "d.log": 100}.items():
        Storage().put(join(place, "in", name), b"word " * words)
    Storage().put(join(place, "in", "0-empty.txt"), b"")
    return join(place, "in")


def test_a_plan_is_one_json_document_and_makes_no_lake(
    embedlake: Command, hashed_model: str, texts: str, place: str
) -> None:
    lake = join(place, "lake")
    words = ("--lake", lake, "--model", hashed_model, "--exclude", "*.log", "--usd-per-gpu-hour", "3.6")
    plan = embedlake("plan", texts, *words, "--tokens-per-second", "1", "--json").json
    assert (plan["listed"], plan["new"], plan["changed"], plan["deleted"]) == (5, 4, 0, 0)
    expected = {"unchanged": 0, "excluded": 1, "deferred": 0, "updated": 0, "quarantined": {}}
    assert plan["skipped"] == expected
    exact = {"value": 15.0, "low": 15.0, "high": 15.0}
    assert plan["census"]["tokens"] == exact
    assert plan["census"]["quarantined"] == {"empty": {"value": 1.0, "low": 1.0, "high": 1.0}}
    assert plan["cost"]["actor_hours"]["value"] == pytest.approx(15 / 3600)
    assert plan["cost"]["usd"]["value"] == pytest.approx(15 / 1000)
    assert plan["rates"]["source"] == "given"
    assert Storage().names(lake) == []


def test_people_get_a_table_and_the_way_to_a_price(
    embedlake: Command, hashed_model: str, texts: str, place: str
) -> None:
    said = embedlake(
        "plan", texts, "--lake", join(place, "lake"), "--model", hashed_model, "--max-assets", "4"
    )
    assert said.code == ExitCode.OK
    assert "5 listed: 4 new, 0 changed, 0 unchanged, 1 deferred; 0 to be deleted" in said.out
    assert "would be quarantined: 1 x empty" in said.out
    assert "cost unknown" in said.out
    assert "--calibrate" in said.out


@pytest.mark.parametrize(
    ("words", "code", "about"),
    [
        (["absent-folder"], ExitCode.SOURCE, "not found"),
        ([".", "--sample", "1"], ExitCode.USAGE, "--sample"),
        ([".", "--corpus", "Not A Name"], ExitCode.USAGE, "corpus name"),
        ([".", "--recipe", "nonsense"], ExitCode.USAGE, "debug, default, pdf-heavy, video"),
    ],
)
def test_mistakes_are_told(
    embedlake: Command, hashed_model: str, tmp_path: Path, words: list[str], code: ExitCode, about: str
) -> None:
    said = embedlake("plan", *words, "--lake", f"{tmp_path}/lake", "--model", hashed_model)
    assert said.code == code
    assert about in said.err
    assert "Traceback" not in said.err


def test_the_recipe_named_default_is_the_default() -> None:
    assert load_recipe("default") == load_recipe(None) == Recipe()


def test_every_shipped_recipe_is_valid_and_makes_a_space_of_its_own() -> None:
    names = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    assert {"debug", "default", "pdf-heavy", "video"} <= set(names)
    assert len({load_recipe(name).digest for name in names}) == len(names)
    assert load_recipe("video").video.fps == 2


def test_a_file_is_a_recipe_too_and_its_typos_are_told(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("text: {chunk_tokens: 99}\n")
    assert load_recipe(tmp_path / "mine.yaml").text.chunk_tokens == 99
    (tmp_path / "mine.yaml").write_text("text: {chunk: 99}\n")
    with pytest.raises(UsageError, match=r"mine.yaml: text.chunk"):
        load_recipe(str(tmp_path / "mine.yaml"))
    with pytest.raises(UsageError, match=r"cannot read .*absent.yaml"):
        load_recipe(str(tmp_path / "absent.yaml"))


def test_the_census_is_smaller_with_the_debug_recipe(
    embedlake: Command, hashed_model: str, tmp_path: Path
) -> None:
    Storage().put(f"{tmp_path}/in/a.txt", b"word " * 1_000)
    ask = (
        "plan",
        f"{tmp_path}/in",
        "--lake",
        f"{tmp_path}/lake",
        "--model",
        hashed_model,
        "--json",
        "--recipe",
    )
    segments = {r: embedlake(*ask, r).json["census"]["segments"]["value"] for r in ("debug", "default")}
    assert segments == {"debug": 16, "default": 5}
