"""Pictures with captions: clip art, emoji of two styles, and stamps for evaluation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image, ImageDraw, ImageFont

from pipelines.training.data import sources

_DC = "{http://purl.org/dc/elements/1.1/}"
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_CC = "{http://web.resource.org/cc/}"
_NOISE = re.compile(r"\b(clip ?art|by [A-Z]\w+ \w+|\d+|image|openclipart|svg|untitled)\b", re.IGNORECASE)
_NOTO_SIZE = 109
"""The one size at which the font's bitmaps are stored."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file with its name and what else is said of it; `name` is the query of a retrieval test."""

    source: str
    path: Path
    name: str
    keywords: tuple[str, ...] = ()

    @property
    def captions(self) -> tuple[str, ...]:
        """Texts that the picture answers to, the name first."""
        words = [k for k in self.keywords if k != self.name]
        joined = [f"{self.name}, {', '.join(words[:4])}"] if words else []
        return tuple(dict.fromkeys([self.name, *joined, *words]))


def clip_art(work: Path, per_title: int = 4) -> Iterator[Picture]:
    """Public-domain clip art with a usable title; at most `per_title` pictures share one."""
    svg = sources.unpack(sources.OPENCLIPART_SVG, work) / "usr/share/openclipart/svg"
    png = sources.unpack(sources.OPENCLIPART_PNG, work) / "usr/share/openclipart/png"
    seen: set[Path] = set()
    titles: Counter[str] = Counter()
    for path in sorted(png.rglob("*.png")):
        real = path.resolve()
        relative = path.relative_to(png)
        if real in seen or relative.parts[:2] == ("computer", "icons"):
            continue
        seen.add(real)
        named = _svg_metadata((svg / relative).with_suffix(".svg"))
        if named is None or titles[named[0]] >= per_title:
            continue
        titles[named[0]] += 1
        yield Picture("clipart", real, *named)


def _svg_metadata(path: Path) -> tuple[str, tuple[str, ...]] | None:
    """Title and keywords, or None where they say nothing or the licence is not public domain."""
    try:
        root = ElementTree.parse(path).getroot()  # noqa: S314
    except (ElementTree.ParseError, OSError):
        return None
    work = root.find(f".//{_CC}Work")
    license_ = None if work is None else work.find(f"{_CC}license")
    if work is None or license_ is None or "PublicDomain" not in str(license_.attrib.values()):
        return None
    keywords = [_clean(li.text or "") for li in work.iterfind(f"{_DC}subject//{_RDF}li")]
    kept = tuple(dict.fromkeys(k for k in keywords if len(k) > 2))
    title = _clean(work.findtext(f"{_DC}title") or "")
    title = title if re.search(r"[a-z]{3}", title) else ""
    name = title or (kept[0] if kept else "")
    return (name, kept) if name else None


def _clean(text: str) -> str:
    text = _NOISE.sub(" ", re.sub(r"[_\-]|\(.*?\)", " ", text))
    return re.sub(r"\s+", " ", text).strip(" .,:;").lower()


def emoji_names(work: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """English name and keywords of each emoji sequence, variation selectors stripped."""
    common = sources.unpack(sources.CLDR, work) / "usr/share/unicode/cldr/common"
    names: dict[str, str] = {}
    keywords: dict[str, tuple[str, ...]] = {}
    for folder in ("annotations", "annotationsDerived"):
        for node in ElementTree.parse(common / folder / "en.xml").iter("annotation"):  # noqa: S314
            key, text = node.attrib["cp"].replace("\ufe0f", ""), node.text or ""
            if node.attrib.get("type") == "tts":
                names[key] = text.lower().replace("flag: ", "flag of ").replace(":", ",")
            else:
                keywords[key] = tuple(word.strip().lower() for word in text.split("|"))
    return {key: (name, keywords.get(key, ())) for key, name in names.items()}


def fluent_emoji(work: Path) -> Iterator[Picture]:
    """3D-style emoji."""
    names = emoji_names(work)
    assets = sources.unpack(sources.FLUENT_EMOJI, work) / "package/assets"
    for path in sorted(assets.glob("*.webp")):
        if not re.fullmatch(r"[0-9a-f]{2,5}(-[0-9a-f]{2,5})*", path.stem):
            continue
        key = "".join(chr(int(c, 16)) for c in path.stem.split("-")).replace("\ufe0f", "")
        if key in names and not _has_skin_tone(key):
            yield Picture("fluent", path, *names[key])


def noto_emoji(work: Path) -> Iterator[Picture]:
    """Flat emoji, rendered from the colour font into `work`."""
    font_file = next(sources.unpack(sources.NOTO_EMOJI, work).rglob("NotoColorEmoji.ttf"))
    rendered = work / "noto-rendered"
    rendered.mkdir(exist_ok=True)
    font = ImageFont.truetype(str(font_file), _NOTO_SIZE)
    blank = font.getmask("\U0010fffd", mode="RGBA").getbbox()
    for key, (name, keywords) in sorted(emoji_names(work).items()):
        if _has_skin_tone(key) or not (mask := font.getmask(key, mode="RGBA")).getbbox():
            continue
        if (
            mask.getbbox() == blank
            or mask.size[0] > 1.5 * _NOTO_SIZE
            or (len(key) == 1 and ord(key) < 0x203C)
        ):
            continue
        path = rendered / f"{'-'.join(f'{ord(c):x}' for c in key)}.png"
        if not path.exists():
            canvas = Image.new("RGBA", (136, 128), (255, 255, 255, 0))
            ImageDraw.Draw(canvas).text((0, 0), key, font=font, embedded_color=True)
            canvas.save(path)
        yield Picture("noto", path, name, keywords)


def _has_skin_tone(key: str) -> bool:
    """Skin-tone variants are near copies of one picture."""
    return any(0x1F3FB <= ord(c) <= 0x1F3FF for c in key)


def stamps(work: Path) -> Iterator[Picture]:
    """Tux Paint's stamps with their English description; licensed for evaluation only (GPL)."""
    root = sources.unpack(sources.TUXPAINT, work) / "usr/share/tuxpaint/stamps"
    for path in sorted(root.rglob("*.txt")):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        picture = next((p for p in (path.with_suffix(".png"), path.with_suffix(".svg")) if p.exists()), None)
        if lines and lines[0].strip() and picture and "symbols" not in path.relative_to(root).parts:
            yield Picture("tuxpaint", picture, lines[0].strip())
