"""Rows of assets: where their segments lie, and what is behind their references is part of what they are."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from operators.lake.tombstones import Tombstones
from operators.read import ReadAssets
from operators.rows import AssetRows, Block
from operators.sources import spool
from operators.sources.fetch import Fetcher, Wanted
from operators.sources.listing import list_source
from operators.storage import Storage
from pipelines.locators import locate
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import PdfRecipe, Recipe, TextRecipe
from schemas.tables import ASSET_KIND, LISTING, SEGMENT_KIND, TAKEN_COLUMN
from tests.models.hashed import HashSpec
from tests.operators.decode.pages import pdf_bytes
from tests.operators.decode.texts import WORDS, png
from tests.operators.sources.test_archive import make_tar, make_zip

ALBUM = (
    f"# A\n\n![one](1.png)\n\n{WORDS}\n\n# B\n\n{WORDS}\n\n![two](2.png)\n\n{WORDS}\n\n![gone](gone.png)\n"
)


def rows(folder: Path, block_bytes: int = 1 << 20, **options: Any) -> list[dict[str, Any]]:
    fetcher = Fetcher(storage=Storage(), grants={str(folder): (str(folder),)}, max_bytes=1 << 30)
    recipe = Recipe(text=TextRecipe(chunk_tokens=32, overlap_tokens=0))
    reader = ReadAssets(fetcher=fetcher, spec=HashSpec(), recipe=recipe, block_bytes=block_bytes)
    uri = folder / "a.md"
    row = {"uri": str(uri), "source": str(folder), "size": uri.stat().st_size, **options}
    shard = pa.Table.from_pylist([row], LISTING)
    return [row for table in reader(shard) for row in table.to_pylist()]


def album(folder: Path, colour: str = "red") -> Path:
    folder.mkdir()
    (folder / "a.md").write_text(ALBUM)
    (folder / "1.png").write_bytes(png(colour))
    (folder / "2.png").write_bytes(png("blue"))
    return folder


def test_every_row_of_an_asset_with_pictures_has_the_same_hash_however_it_is_batched(tmp_path: Path) -> None:
    folder = album(tmp_path / "x")
    found = rows(folder)
    assert sum(r["kind"] == SEGMENT_KIND for r in found) > 5
    assert {r["modality"] for r in found} == {"text", "document"}
    assert len({r["content_hash"] for r in found}) == 1
    assert [r["segment_id"] for r in found] == [r["segment_id"] for r in rows(folder, block_bytes=1)]


def test_another_picture_makes_another_asset_of_the_same_text(tmp_path: Path) -> None:
    one, same, other = (album(tmp_path / name, c) for name, c in (("x", "red"), ("y", "red"), ("z", "lime")))
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "a.md").write_text(ALBUM)
    hashes = [rows(folder)[-1]["content_hash"] for folder in (one, same, other, bare)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3


def test_a_reference_that_changes_while_it_is_read_is_tried_again(tmp_path: Path) -> None:
    folder = album(tmp_path / "x")
    fetcher = Fetcher(storage=Storage(), grants={str(folder): (str(folder),)}, max_bytes=1 << 30)
    wanted = Wanted(str(folder / "a.md"), str(folder), None)
    asset = AssetRows({"uri": wanted.uri, "source": "", "size": 1, "etag": None, "mtime": None}, "recipe")
    for _ in range(2):
        asset.refer(fetcher, "1.png", wanted).close()
    assert len(asset.digests) == 1, "the same reference counts once"
    (folder / "1.png").write_bytes(png("green"))
    with pytest.raises(AssetError) as caught:
        asset.refer(fetcher, "1.png", wanted)
    assert caught.value.code is ErrorCode.CHANGED


def test_what_was_forgotten_in_an_archive_is_neither_read_nor_told(tmp_path: Path) -> None:
    inner = make_zip({"deep.txt": b"secret words"})
    (tmp_path / "z.zip").write_bytes(
        make_zip({"a.txt": b"first words", "b.txt": b"secret words", "n.zip": inner})
    )
    folder, uri = str(tmp_path), str(tmp_path / "z.zip")
    fetcher = Fetcher(storage=Storage(), grants={folder: (folder,)}, max_bytes=1 << 20)
    forgotten = Tombstones().adding([f"{uri}!/b.txt", f"{uri}!/n.zip"])
    read = ReadAssets(fetcher=fetcher, spec=HashSpec(), recipe=Recipe(), forgotten=forgotten)
    tables = list(read(list_source(folder, Storage()).table))
    found = [(row["uri"], row["kind"], row["segments"]) for table in tables for row in table.to_pylist()]
    assert found == [
        (f"{uri}!/a.txt", "segment", None),
        (f"{uri}!/a.txt", "asset", 1),
        (uri, "asset", 1),
    ]


def test_a_segment_of_pages_says_its_first_and_its_last_one(tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(pdf_bytes("one", "two", "three", "four", "five"))
    folder = str(tmp_path)
    fetcher = Fetcher(storage=Storage(), grants={folder: (folder,)}, max_bytes=1 << 20)
    recipe = Recipe(pdf=PdfRecipe(pages_per_segment=2))
    read = ReadAssets(fetcher=fetcher, spec=HashSpec(), recipe=recipe)
    tables = list(read(list_source(folder, Storage()).table))
    found = [row for table in tables for row in table.to_pylist() if row["kind"] == SEGMENT_KIND]
    assert [(row["page"], row["page_end"]) for row in found] == [(1, 2), (3, 4), (5, 5)]
    assert [locate(row) for row in found] == ["pp. 1-2", "pp. 3-4", "p. 5"]
    assert len({row["segment_id"] for row in found}) == 3


def read_all(folder: Path) -> list[pa.Table]:
    fetcher = Fetcher(storage=Storage(), grants={str(folder): (str(folder),)}, max_bytes=1 << 30)
    read = ReadAssets(fetcher=fetcher, spec=HashSpec(), recipe=Recipe())
    return list(read(list_source(str(folder), Storage()).table))


def test_rows_without_media_fill_a_table_too(tmp_path: Path) -> None:
    out = Block(1 << 20, LISTING)
    for number in range(4096):
        assert not out.full
        out.add([{"uri": str(number)}])
    assert out.full
    row = {"uri": str(tmp_path / "gone"), "source": str(tmp_path), "size": 1}
    fetcher = Fetcher(storage=Storage(), grants={str(tmp_path): (str(tmp_path),)}, max_bytes=1 << 30)
    read = ReadAssets(fetcher=fetcher, spec=HashSpec(), recipe=Recipe())
    tables = list(read(pa.Table.from_pylist([row] * 5000, LISTING)))
    assert [table.num_rows for table in tables] == [4096, 904], "failures are rows as well"


def test_a_disk_that_cannot_take_a_member_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.zip").write_bytes(make_zip({"a.txt": b"words " * 99}))
    monkeypatch.setattr(spool, "SPOOL_BYTES", 10)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    (table,) = read_all(tmp_path)
    assert table["error_code"].to_pylist() == [str(ErrorCode.STORAGE)]


def test_a_member_never_gets_the_uri_of_an_object(tmp_path: Path) -> None:
    body = make_zip({"a.txt": b"words", "n.zip": make_zip({"b.txt": b"more"})})
    (tmp_path / "x.zip").write_bytes(body)
    inside = f"{tmp_path}/x.zip!/"
    taken = [f"{inside}a.txt", f"{inside}n.zip!/b.txt"]
    row = {"uri": str(tmp_path / "x.zip"), "source": str(tmp_path), "size": len(body), TAKEN_COLUMN: taken}
    fetcher = Fetcher(storage=Storage(), grants={str(tmp_path): (str(tmp_path),)}, max_bytes=1 << 30)
    read = ReadAssets(fetcher=fetcher, spec=HashSpec(), recipe=Recipe())
    (table,) = read(
        pa.Table.from_pylist([row], LISTING.append(pa.field(TAKEN_COLUMN, pa.list_(pa.string()))))
    )
    found = [r["uri"].removeprefix(inside) for r in table.to_pylist() if r["kind"] == ASSET_KIND]
    assert found[:2] == ["a#2.txt", "n.zip!/b#2.txt"]


PAGES = {
    "docs/a.md": ALBUM.encode(),
    "docs/1.png": png("red"),
    "docs/2.png": png("blue"),
    "docs/d.json": json.dumps({"parts": ["so", {"type": "image", "uri": "../top.png"}]}).encode(),
    "docs/lost.json": json.dumps({"parts": [{"type": "image", "uri": "gone.png"}]}).encode(),
    "docs/out.json": json.dumps({"parts": [{"type": "image", "uri": "../../beside.png"}]}).encode(),
    "top.png": png("lime"),
}


def test_what_lies_in_a_zip_may_refer_to_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(make_zip({"n.zip": make_zip(PAGES)}))
    (tmp_path / "beside.png").write_bytes(png("black"))
    (table,) = read_all(tmp_path)
    rows = {r["uri"].rpartition("!/")[2]: r for r in table.to_pylist() if r["kind"] == ASSET_KIND}
    assert rows["docs/d.json"]["status"] == "embedded"
    for name in ("docs/lost.json", "docs/out.json"):
        assert rows[name]["error_code"] == str(ErrorCode.INVALID_DOCUMENT), "its bytes decide: no night helps"
    assert "no docs/gone.png in the archive" in rows["docs/lost.json"]["error_detail"]
    shown = [r for r in table.to_pylist() if r["uri"].endswith("a.md") and r["modality"] == "document"]
    assert len(shown) > 1, "text with its pictures"


def test_what_lies_in_a_tar_may_not_and_says_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(make_tar(PAGES))
    (table,) = read_all(tmp_path)
    rows = {r["uri"].rpartition("!/")[2]: r for r in table.to_pylist() if r["kind"] == ASSET_KIND}
    assert rows["docs/d.json"]["error_code"] == str(ErrorCode.INVALID_DOCUMENT)
    assert "pack them as a zip" in rows["docs/d.json"]["error_detail"]
    assert rows["docs/a.md"]["status"] == "embedded"
