"""Assets behind hits are read as they were embedded, in ranges, on disk and on S3; a map can be made again."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from operators.faults import Read, StorageFault
from operators.storage import Storage, join
from pipelines.explore.assets import Assets, context_of
from pipelines.explore.exhibit import Exhibit
from pipelines.explore.kept import Kept
from pipelines.explore.map import laid_out, project
from pipelines.explore.pictures import Pictures
from pipelines.reader import LakeReader
from schemas.errors import AssetError, ErrorCode
from tests.lakes import embed_here, make_lake
from tests.models.hashed import HashSpec
from tests.pipelines.deadly import ENTRY, VICTIM

BODY = b"0123456789" * 300_000


@pytest.fixture
def assets(place: str, tmp_path: Path) -> Assets:
    Storage().put(join(place, "in/it's.txt"), BODY[:1000])
    Storage().put(join(place, "in/big.bin"), BODY)
    lake = str(tmp_path / "lake")
    embed_here(lake, [join(place, "in")], HashSpec())
    return Assets(LakeReader.open(lake), "demo")


def test_ranges_of_an_object_are_its_bytes(assets: Assets, place: str) -> None:
    uri = join(place, "in/big.bin")
    asset = assets.find([uri])[uri]
    assert assets.size(asset) == len(BODY)
    for start, stop in ((0, 10), (5, 2_500_003), (len(BODY) - 7, len(BODY)), (0, len(BODY))):
        assert b"".join(assets.blocks(asset, start, stop)) == BODY[start:stop]
    with assets.fetch(asset).file as file:
        assert file.read() == BODY


def test_a_changed_or_lost_object_is_not_passed_off_as_what_was_embedded(assets: Assets, place: str) -> None:
    uri = join(place, "in/it's.txt")
    asset = assets.find([uri])[uri]
    Storage().put(uri, b"other")
    for read in (assets.size, assets.fetch, lambda asset: list(assets.blocks(asset, 0, 5))):
        with pytest.raises(AssetError) as caught:
            read(asset)
        assert caught.value.code is ErrorCode.CHANGED


def test_only_listed_uris_are_found(assets: Assets, place: str) -> None:
    listed = join(place, "in/it's.txt")
    assert set(assets.find([listed, join(place, "in"), "' OR true --", "", "/etc/passwd"])) == {listed}


def test_a_range_of_storage_is_that_range_or_a_fault(place: str) -> None:
    uri = join(place, "a.bin")
    Storage().put(uri, b"0123456789")
    found = Storage().read_many([Read(uri, size=3, start=0), Read(uri, size=4, start=6)])
    assert found == [b"012", b"6789"]
    (beyond,) = Storage().read_many([Read(uri, size=4, start=8)])
    assert isinstance(beyond, StorageFault)


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 19))
def test_a_chunk_and_its_context_are_the_text_without_a_gap_or_a_repeat(
    length: int, chunk: int, overlap: int
) -> None:
    text = "".join(chr(97 + n % 26) for n in range(length))
    step = max(1, chunk - overlap)
    rows = [
        {"ordinal": n, "text": text[at : at + chunk], "char_start": at,
         "char_end": min(at + chunk, length), "page": None}
        for n, at in enumerate(range(0, length, step))
    ]  # fmt: skip
    for row in rows:
        before, after = context_of(rows, row["ordinal"])
        joined = before + row["text"] + after
        start = row["char_start"] - len(before)
        assert text[start : start + len(joined)] == joined


def test_the_same_seed_gives_the_same_map(tmp_path: Path) -> None:
    lake = str(tmp_path / "lake")
    make_lake(lake, {f"s/{n}.txt": f"word{n} group{n % 2}" for n in range(9)})
    reader = LakeReader.open(lake)
    whole, again, part = (laid_out(reader, "demo", size, seed=3) for size in (100, 100, 4))
    assert whole.equals(again)
    assert (whole.num_rows, part.num_rows) == (9, 4)
    assert set(part["segment_id"].to_pylist()) < set(whole["segment_id"].to_pylist())
    assert whole.schema.field("x").type == pa.float32()


def test_few_vectors_have_places_too() -> None:
    for rows in (1, 2, 3):
        places = project(np.eye(8, dtype=np.float32)[:rows], 0)
        assert places.shape == (rows, 2)
        assert np.isfinite(places).all()


def test_what_is_kept_stays_below_its_bytes() -> None:
    kept, made = Kept(10), []

    def make(name: str, size: int) -> bytes:
        return kept.get(name, lambda: made.append(name) or b"x" * size)  # type: ignore[func-returns-value]

    for name in ("a", "b", "a", "c", "a", "b"):
        make(name, 4)
    assert made == ["a", "b", "c", "b"]
    assert len(make("large", 11)) == 11
    make("b", 4)
    assert made[-1] == "large"


def test_a_file_that_kills_its_decoder_costs_its_own_picture(tmp_path: Path) -> None:
    source, lake = tmp_path / "in", str(tmp_path / "lake")
    source.mkdir()
    for name in (VICTIM, "b.png"):
        Image.new("RGB", (64, 48), "red").save(source / name)
    embed_here(lake, [str(source)], HashSpec())
    exhibit = Exhibit.of(LakeReader.open(lake), None)
    bad, good = (exhibit.assets.find([str(source / n)])[str(source / n)] for n in (VICTIM, "b.png"))
    with closing(Pictures(exhibit.assets, exhibit.space, at_once=1, entry=ENTRY)) as pictures:
        with pytest.raises(AssetError) as caught:
            pictures.jpeg(bad, 100)
        assert caught.value.code is ErrorCode.DECODER_CRASHED
        assert pictures.jpeg(good, 100).startswith(b"\xff\xd8")
