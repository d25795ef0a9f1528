"""`make demo` in the checks: the tour on a real S3 server, every search finding what a person would expect."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.demo.searches import HOME, load_searches

REPO = Path(__file__).resolve().parents[2]
DISTRACTORS = ("images/a*", "images/b*", "audio/d*", "video/butterfly-silent.webm", "text/*", "broken/*")
"""Beside what the searches look for: a run may lose the five broken ones of fifty."""


def toured(*flags: str) -> str:
    """What the tour says."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs.demo", *flags],
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    for modality in ("text", "image", "audio", "video", "page", "document"):
        assert f" {modality} " in done.stdout
    assert "nothing to do: " in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout


def part_of_the_demo(home: Path) -> Path:
    """What the searches look for, some distractors, and the documents whose media are among both."""
    expected = {HOME / e.uri for search in load_searches() for e in search.expect}
    found = expected.union(*((HOME / "corpus").glob(name) for name in DISTRACTORS))
    wanted = [path for path in expected if path.suffix == ".json"]
    found |= {(path.parent / uri).resolve() for path in wanted for uri in references(path.read_text())}
    for path in found:
        target = home / path.relative_to(HOME)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    lines = (HOME / "manifests" / "documents.jsonl").read_text().splitlines()
    kept = [line for line in lines if {(HOME / "manifests" / u).resolve() for u in references(line)} <= found]
    (home / "manifests").mkdir()
    (home / "manifests" / "documents.jsonl").write_text("\n".join(kept))
    return home


def references(document: str) -> list[str]:
    """The URIs of a document's media."""
    return [part["uri"] for part in json.loads(document)["parts"] if "uri" in part]


def test_a_part_of_the_tour_embeds_every_modality_and_every_search_finds_what_is_expected(
    tmp_path: Path,
) -> None:
    home = part_of_the_demo(tmp_path / "home")
    said = toured("--folder", str(tmp_path / "demo"), "--home", str(home))
    assert said.count("(found)") == len(load_searches())


@pytest.mark.slow
def test_the_tour_embeds_every_modality_and_every_search_finds_what_is_expected(tmp_path: Path) -> None:
    assert toured("--folder", str(tmp_path / "demo")).count("(found)") == len(load_searches())
