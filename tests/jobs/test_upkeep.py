"""The commands that keep a lake: forget, gc, maintain."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from operators.model.registry import FAMILIES
from operators.storage import Storage
from pipelines.reader import LakeReader
from schemas.errors import ExitCode
from tests.jobs.conftest import Cli
from tests.pipelines.wear import CORPUS, Worn, texts


@pytest.fixture
def worn(tmp_path: Path) -> Worn:
    made = Worn(str(tmp_path / "lake"))
    made.night(texts(*"abcdef"))
    made.night(texts(*"abcdeg"))
    return made


def test_forget_says_what_it_would_erase_and_erases_with_yes(cli: Cli, worn: Worn) -> None:
    files = worn.files()
    preview = json.loads(cli("forget", "s/a.txt", "--lake", worn.lake, "--json"))
    assert (preview["erased"], preview["uris"], preview["segments"]) == (False, ["s/a.txt"], 2)
    assert worn.files() == files
    assert "add --yes" in cli("forget", "--where", "uri = 's/a.txt'", "--lake", worn.lake)
    done = json.loads(
        cli("forget", "--where", "text LIKE 'secreta%'", "--lake", worn.lake, "--yes", "--json")
    )
    assert (done["erased"], done["forgotten"], done["assets"], done["segments"]) == (True, 1, 1, 2)
    assert b"secreta" not in worn.bytes()
    assert "none holds them" in cli("forget", "s/b.txt", "--lake", worn.lake, "--yes")
    assert json.loads(cli("forget", "s/b.txt", "--allow-again", "--lake", worn.lake, "--json")) == {
        "allowed_again": 1
    }


def test_maintain_and_gc_tell_people_and_scripts(cli: Cli, worn: Worn) -> None:
    assert "fragments, version" in cli("maintain", "--lake", worn.lake)
    again = json.loads(cli("maintain", "--lake", worn.lake, "--corpus", CORPUS, "--json"))
    assert again["catalog_entry"] is None
    dry = json.loads(cli("gc", "--lake", worn.lake, "--days", "0", "--dry-run", "--json"))
    assert dry["dry_run"] is True
    assert dry["bytes"] > 0
    assert "freed" in cli("gc", "--lake", worn.lake, "--days", "0")
    assert LakeReader.open(worn.lake).segments(CORPUS).count_rows() == 12


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("forget",), ExitCode.USAGE, "give URIs or --where"),
        (("forget", "--where", "nope = 1"), ExitCode.USAGE, "fits neither"),
        (("forget", "--allow-again"), ExitCode.USAGE, "--allow-again wants the URIs"),
        (("forget", "x", "--corpus", "other"), ExitCode.LAKE, "no corpus 'other'"),
        (("gc", "--days", "-1"), ExitCode.USAGE, "is no age"),
        (("gc", "--corpus", "other"), ExitCode.LAKE, "no corpus 'other'"),
        (("maintain", "--days", "nan"), ExitCode.USAGE, "is no age"),
    ],
)
def test_mistakes_are_one_line(
    cli: Cli, worn: Worn, words: tuple[str, ...], code: ExitCode, says: str
) -> None:
    assert says in cli(*words, "--lake", worn.lake, code=code)


@pytest.mark.usefixtures("local_ray")
def test_a_forgotten_object_that_is_still_in_its_source_stays_away(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(FAMILIES, "hashed", "tests.models.hashed:HashSpec")
    Storage().put(f"{tmp_path}/model/embedlake.json", b'{"family": "hashed"}')
    for name in "abc":
        Storage().put(f"{tmp_path}/texts/{name}.txt", f"the secret of {name}".encode())
    lake = f"{tmp_path}/lake"
    embed = ("embed", f"{tmp_path}/texts", "--lake", lake, "--model", f"{tmp_path}/model", "--json")
    assert json.loads(cli(*embed))["embedded"] == 3
    cli("forget", f"{tmp_path}/texts/a.txt", "--lake", lake, "--yes")
    Storage().put(f"{tmp_path}/texts/d.txt", b"the fourth")
    again = json.loads(cli(*embed))
    assert (again["listed"], again["excluded"], again["embedded"], again["deleted"]) == (4, 1, 1, 0)
    cli("forget", f"{tmp_path}/texts/a.txt", "--allow-again", "--lake", lake)
    assert json.loads(cli(*embed))["embedded"] == 1
