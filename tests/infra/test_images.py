"""The Dockerfiles: parsed, linted, and what they put into the image run."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

from tests.infra.files import INFRA, REPO, pins

DOCKERFILES = ("Dockerfile.cpu", "Dockerfile.cuda")
IMAGES = pytest.mark.parametrize("name", DOCKERFILES)


def instructions(name: str) -> list[tuple[str, str]]:
    parser = DockerfileParser(fileobj=(INFRA / name).open("rb"))
    return [(one["instruction"], one["value"]) for one in parser.structure if one["instruction"] != "COMMENT"]


def sources(name: str) -> list[str]:
    """What is copied from the checkout."""
    copies = [value.split() for kind, value in instructions(name) if kind == "COPY"]
    return [path for words in copies if not words[0].startswith("--from") for path in words[:-1]]


@IMAGES
def test_the_linter_finds_nothing(name: str) -> None:
    linter = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([linter, "--no-color", INFRA / name], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@IMAGES
def test_the_last_stage_has_its_own_user_no_build_tools_and_one_entrypoint(name: str) -> None:
    found = instructions(name)
    stages = [i for i, (kind, _) in enumerate(found) if kind == "FROM"]
    assert len(stages) == 2
    last = found[stages[-1] :]
    assert ("USER", "1000:1000") in last
    assert ("ENTRYPOINT", '["embedlake"]') in last
    assert not any("pip install" in value for _, value in last)
    root = [value for kind, value in last[: last.index(("USER", "1000:1000"))] if kind == "RUN"]
    assert all("install --directory" in value or "useradd" in value for value in root)


def test_both_images_are_built_by_the_same_steps() -> None:
    cpu, cuda = ([one for one in instructions(name) if one[0] not in ("ARG", "ENV")] for name in DOCKERFILES)
    assert cpu == cuda


@IMAGES
def test_every_install_is_pinned(name: str) -> None:
    for kind, value in instructions(name):
        for install in re.findall(r"pip install[^&]*", value) if kind == "RUN" else ():
            assert "--constraint pins.txt" in install
    assert {"torch", "ray", "aiohttp-cors", "av"} <= set(pins())


@IMAGES
def test_what_is_copied_is_there_and_is_not_ignored(name: str) -> None:
    rules = (REPO / ".dockerignore").read_text().split()
    assert rules[0] == "*"
    for path in sources(name):
        assert (REPO / path).exists(), path
        assert any(fnmatch(path, rule[1:]) for rule in rules if rule.startswith("!")), path


@IMAGES
def test_the_copied_files_are_enough_to_run_the_commands_of_the_build(name: str, tmp_path: Path) -> None:
    for path in sources(name):
        if (REPO / path).is_dir():
            shutil.copytree(REPO / path, tmp_path / path, ignore=shutil.ignore_patterns("__pycache__"))
    runs = " && ".join(value for kind, value in instructions(name) if kind == "RUN")
    commands = re.findall(r"&& embedlake ([^&]+)", runs)
    assert len(commands) == 2
    for words in commands:
        command = [sys.executable, "-m", "jobs", *words.split()]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    recipe = "from jobs.settings import load_recipe; print(load_recipe('video').video.fps)"
    done = subprocess.run([sys.executable, "-c", recipe], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.split() == ["2.0"]


def test_the_wheel_takes_the_recipes_and_the_heads_along() -> None:
    import tomllib

    data = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package, patterns in data.items():
        folder = REPO / package.replace(".", "/")
        assert all(list(folder.glob(pattern)) for pattern in patterns), package
    assert "recipes/*.yaml" in data["jobs"]


def test_the_licence_of_ffmpeg_is_told() -> None:
    for name in DOCKERFILES:
        assert "GPL-2.0-or-later" in (INFRA / name).read_text()
