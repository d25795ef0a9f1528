"""The reader's rows say where in its asset each segment lies."""

from __future__ import annotations

from pathlib import Path

from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from operators.sources.listing import list_source
from operators.storage import Storage
from pipelines.query import locate
from schemas.recipe import PdfRecipe, Recipe
from schemas.tables import SEGMENT_KIND
from tests.models.hashed import HashSpec
from tests.operators.decode.pages import pdf_bytes


def test_a_segment_of_pages_says_its_first_and_its_last_one(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(pdf_bytes("one", "two", "three", "four", "five"))
    folder = str(tmp_path)
    fetcher = Fetcher(storage=Storage(), grants={folder: (folder,)}, max_bytes=1 << 20)
    recipe = Recipe(pdf=PdfRecipe(pages_per_segment=2))
    read = ReadAssets(fetcher=fetcher, spec=HashSpec(), recipe=recipe)
    tables = list(read(list_source(folder, Storage()).table))
    rows = [row for table in tables for row in table.to_pylist() if row["kind"] == SEGMENT_KIND]
    assert [(row["page"], row["page_end"]) for row in rows] == [(1, 2), (3, 4), (5, 5)]
    assert [locate(row) for row in rows] == ["pp. 1-2", "pp. 3-4", "p. 5"]
    assert len({row["segment_id"] for row in rows}) == 3
