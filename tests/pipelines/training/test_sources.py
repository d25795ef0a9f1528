"""Packages are unpacked once, whoever asks for them and how many at a time."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.training.data.sources import Source, unpack
from schemas.errors import SourceError

_CALLERS = 2
_SOURCE = Source(registry="npm", package="@some/emoji", version="1.0.0", license="MIT", use="train")
_CLIENT = """#!/bin/sh
# Stands for the registry's client: hands the package out when all have asked for it.
mktemp "{asked}/XXXXXX" > /dev/null
while [ "$(ls "{asked}" | wc -l)" -lt {callers} ]; do sleep 0.01; done
cp "{archive}" package.tgz
echo package.tgz
"""

_DEBIAN = Source(registry="debian", package="some-words", version="1.0", license="MIT", use="train")
_CONTROL = "Package: some-words\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody\nDescription: words\n"


def install(home: Path, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry's client that is found before any other."""
    (home / name).write_text(script, encoding="utf-8")
    (home / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(home), prepend=":")


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the registry's client, which is the one that is found."""
    home, asked = tmp_path / "registry", tmp_path / "registry" / "asked"
    asked.mkdir(parents=True)
    archive = home / "published.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in ("package/a.txt", "package/b/c.txt"):
            entry = tarfile.TarInfo(name)
            entry.size = len(name)
            tar.addfile(entry, io.BytesIO(name.encode()))
    install(home, "npm", _CLIENT.format(asked=asked, archive=archive, callers=_CALLERS), monkeypatch)
    return home


def test_two_that_unpack_a_package_at_once_both_get_it_whole(tmp_path: Path, registry: Path) -> None:
    work = tmp_path / "data"
    with ThreadPoolExecutor(_CALLERS) as pool:
        found = [f.result() for f in [pool.submit(unpack, _SOURCE, work) for _ in range(_CALLERS)]]
    assert len(list((registry / "asked").iterdir())) == _CALLERS
    assert found == [work / "some-emoji"] * _CALLERS
    assert sorted(work.iterdir()) == [work / "some-emoji"]
    for name in ("package/a.txt", "package/b/c.txt"):
        assert (work / "some-emoji" / name).read_text(encoding="utf-8") == name


def test_a_client_that_fails_leaves_nothing_that_looks_unpacked(tmp_path: Path, registry: Path) -> None:
    (registry / "npm").write_text("#!/bin/sh\necho no such package >&2\nexit 1\n", encoding="utf-8")
    with pytest.raises(SourceError, match="no such package"):
        unpack(_SOURCE, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg")
def test_a_debian_package_is_unpacked_into_a_relative_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree, clients = tmp_path / "tree", tmp_path / "clients"
    for folder in (tree / "DEBIAN", tree / "usr", clients):
        folder.mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(_CONTROL, encoding="utf-8")
    (tree / "usr/words").write_text("one two", encoding="utf-8")
    archive = tmp_path / "published.deb"
    subprocess.run(["dpkg-deb", "--build", str(tree), str(archive)], check=True, capture_output=True)
    install(clients, "apt-get", f'#!/bin/sh\ncp "{archive}" some-words_1.0_all.deb\n', monkeypatch)
    monkeypatch.chdir(tmp_path)
    found = unpack(_DEBIAN, Path(".data"))
    assert (found / "usr/words").read_text(encoding="utf-8") == "one two"
    assert sorted(Path(".data").iterdir()) == [Path(".data/some-words")]
