"""The committed demo corpus: complete, small, licensed file by file, and readable where it should be."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import av
import pypdfium2 as pdfium
import pytest
import yaml
from PIL import Image

DEMO = Path(__file__).parents[2] / "infra" / "demo"
CORPUS = DEMO / "corpus"
BUDGET_BYTES = 6 << 20
SEARCHES = yaml.safe_load((DEMO / "searches.yaml").read_text())["searches"]


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def references() -> list[Path]:
    found = []
    for path in files(CORPUS / "documents"):
        parts = json.loads(path.read_text())["parts"]
        found += [path.parent / part["uri"] for part in parts if "uri" in part]
    manifests = DEMO / "manifests"
    for line in (manifests / "documents.jsonl").read_text().splitlines():
        found += [manifests / part["uri"] for part in json.loads(line)["parts"] if "uri" in part]
    with (manifests / "catalog.csv").open() as file:
        found += [manifests / row["uri"] for row in csv.DictReader(file)]
    return found


def test_every_file_is_in_the_datasheet_with_its_licence_and_digest() -> None:
    rows = [
        line.split(" | ")
        for line in (DEMO / "DATASHEET.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    stated = {row[0].removeprefix("| "): (row[2], row[-1].removesuffix(" |")) for row in rows}
    committed = [p for folder in ("corpus", "manifests", "queries") for p in files(DEMO / folder)]
    assert {p.relative_to(DEMO).as_posix() for p in committed} == set(stated) - {"file"}
    for path in committed:
        license_, digest = stated[path.relative_to(DEMO).as_posix()]
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()[:16], path
        assert set(license_.split(" + ")) <= {"Apache-2.0", "MIT", "OFL-1.1", "public domain"}, path


def test_the_corpus_stays_within_its_budget() -> None:
    assert sum(p.stat().st_size for p in files(CORPUS)) <= BUDGET_BYTES


def test_references_of_documents_and_manifests_lead_into_the_corpus() -> None:
    found = references()
    assert len(found) > 30
    assert all(path.resolve().is_file() and path.resolve().is_relative_to(CORPUS) for path in found)


@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: s["name"])
def test_what_a_search_names_exists(search: dict[str, object]) -> None:
    query, expect = search["query"], search["expect"]
    assert isinstance(query, dict)
    assert isinstance(expect, list)
    assert all((DEMO / name).is_file() for kind, name in query.items() if kind != "text")
    for answer in expect:
        path, locator = DEMO / answer["uri"], answer.get("locator", {})
        assert path.is_file()
        if "page" in locator:
            assert 1 <= locator["page"] <= len(pdfium.PdfDocument(path))
        if "end_ms" in locator:
            with av.open(str(path)) as container:
                assert container.duration is not None
                assert locator["start_ms"] < locator["end_ms"] <= container.duration / 1000


def test_every_picture_opens_and_every_format_is_there() -> None:
    formats = set()
    for path in files(CORPUS / "images"):
        with Image.open(path) as image:
            image.load()
            formats.add(image.format)
    assert formats == {"JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"}


def test_sound_is_audible_in_every_note_and_in_every_video_but_the_silent_one() -> None:
    silent = []
    for path in [*files(CORPUS / "audio"), *files(CORPUS / "video")]:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                silent.append(path.name)
                continue
            frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        loudest = max(abs(float(frame.max())) for frame in frames)
        assert loudest > (0.3 if frames[0].dtype.kind == "f" else 10_000), path
    assert silent == ["butterfly-silent.webm"]


def test_one_page_has_no_text_layer() -> None:
    without = [
        (path.name, number)
        for path in files(CORPUS / "pdf")
        for number, page in enumerate(pdfium.PdfDocument(path), 1)
        if not page.get_textpage().get_text_bounded().strip()
    ]
    assert without == [("harbour-guide.pdf", 3)]
