"""Builds the demo corpus' media from `catalog.yaml`: `python -m infra.demo.build_corpus [--cache FOLDER]`.

Only maintainers run it; its output is committed. It needs apt-get, npm and flite, and besides the project's own
dependencies `reportlab` (BSD). Text, documents and manifests are written by hand and left alone.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from infra.demo.build_media import speak, write_sound, write_video
from infra.demo.build_pdf import write_encrypted, write_pdf
from infra.demo.build_sources import Picture, Sources

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
QUERIES = HERE / "queries"
MARKER = "<!-- files: written by build_corpus.py -->"
LONGEST_SIDE = 320
MARGIN = 12
OWN = ("own work", "Apache-2.0")
SAVE: dict[str, dict[str, Any]] = {
    ".jpg": {"quality": 82, "optimize": True},
    ".png": {"optimize": True},
    ".webp": {"quality": 80, "method": 6},
    ".tiff": {"compression": "tiff_adobe_deflate"},
    ".bmp": {},
}
Provenance = dict[str, tuple[str, str]]


def main() -> None:
    """Rebuild every generated file and the datasheet's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(tempfile.gettempdir()) / "embedlake-corpus-cache"
    parser.add_argument("--cache", type=Path, default=default, help="where packages are kept")
    sources = Sources(parser.parse_args().cache)
    catalog = yaml.safe_load((HERE / "catalog.yaml").read_text())
    images = CORPUS / "images"
    provenance: Provenance = {}
    for folder in (images, CORPUS / "audio", CORPUS / "video", CORPUS / "pdf", CORPUS / "broken", QUERIES):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for folder, key in ((images, "images"), (QUERIES, "query_images")):
        for name, entry in catalog[key].items():
            [(kind, reference)] = entry.items()
            picture = sources.picture(kind, reference)
            save_picture(folder / name, picture.image)
            provenance[_name(folder / name)] = (_origin(picture), picture.license)
    for folder, key in ((CORPUS / "audio", "audio"), (QUERIES, "query_audio")):
        for name, entry in catalog[key].items():
            write_sound(folder / name, speak(entry["text"], entry["voice"]))
            provenance[_name(folder / name)] = (f"own text, spoken by flite ({entry['voice']})", OWN[1])
    for name, entry in catalog["video"].items():
        write_video(CORPUS / "video" / name, entry["scenes"], entry.get("voice"), images)
        provenance[f"corpus/video/{name}"] = _composed([s["image"] for s in entry["scenes"]], provenance)
    for name, pages in catalog["pdf"].items():
        write_pdf(CORPUS / "pdf" / name, pages, images)
        provenance[f"corpus/pdf/{name}"] = _composed([p["image"] for p in pages], provenance)
    write_broken(CORPUS / "broken", images / "red-racing-car.jpg")
    write_datasheet(provenance, sources.versions)


def save_picture(path: Path, image: Image.Image) -> None:
    """Crop to what is drawn, bound the longest side, and save as the suffix says; JPEG and BMP get white."""
    cropped = image.crop(image.getbbox())
    cropped.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (cropped.width + 2 * MARGIN, cropped.height + 2 * MARGIN))
    canvas.alpha_composite(cropped, (MARGIN, MARGIN))
    if path.suffix == ".gif":
        turned = [_on_white(canvas.rotate(9 * i, Image.Resampling.BICUBIC)).quantize(64) for i in range(5)]
        turned[0].save(path, save_all=True, append_images=turned[1:], duration=200, loop=0)
    elif path.suffix in (".png", ".webp"):
        canvas.save(path, **SAVE[path.suffix])
    else:
        _on_white(canvas).save(path, **SAVE[path.suffix])


def write_broken(folder: Path, picture: Path) -> None:
    """One file for each way in which an asset fails, so that the quarantine shows."""
    whole = picture.read_bytes()
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 3])
    (folder / "not_a_video.mp4").write_bytes(hashlib.shake_256(b"not a video").digest(4096))
    (folder / "unsupported.bin").write_bytes(hashlib.shake_256(b"unsupported").digest(1024))
    (folder / "empty.txt").touch()
    write_encrypted(folder / "encrypted.pdf")


def write_datasheet(provenance: Provenance, versions: dict[str, str]) -> None:
    """Replace everything after the datasheet's marker by a table of every file's origin, licence and digest."""
    sheet = HERE / "DATASHEET.md"
    head = sheet.read_text().split(MARKER)[0]
    rows = ["| file | origin | licence | bytes | sha256 |", "|---|---|---|---|---|"]
    for folder in (CORPUS, HERE / "manifests", QUERIES):
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            origin, license_ = provenance.get(_name(path), OWN)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            rows.append(f"| {_name(path)} | {origin} | {license_} | {path.stat().st_size} | {digest} |")
    packages = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    sheet.write_text(f"{head}{MARKER}\n\nPackages: {packages}.\n\n" + "\n".join(rows) + "\n")


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGBA", image.size, "white")
    white.alpha_composite(image)
    return white.convert("RGB")


def _name(path: Path) -> str:
    return path.relative_to(HERE).as_posix()


def _origin(picture: Picture) -> str:
    said = " by ".join(
        part for part in (f'"{picture.title}"' if picture.title else "", picture.author) if part
    )
    return f"{picture.origin} ({said})".replace("|", "/")


def _composed(names: list[str], provenance: Provenance) -> tuple[str, str]:
    licenses = sorted({provenance[f"corpus/images/{name}"][1] for name in names} | {OWN[1]})
    return "own text with images/ " + ", ".join(sorted(set(names))), " + ".join(licenses)


if __name__ == "__main__":
    main()
