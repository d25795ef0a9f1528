"""Erasure: nothing of an asset is left in any file, readers move at once, a kill anywhere is completed, and it
stays away."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lance.file import LanceFileReader

from operators.lake.files import find
from operators.lake.layout import Layout
from operators.lake.tables import Table
from operators.storage import join
from pipelines.chosen import choose
from pipelines.forget import allow_again, forget
from pipelines.gc import collect
from pipelines.lease import held
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from schemas.catalog import Erased, Maintained, Published
from schemas.corpus import Versions
from schemas.errors import ConflictError, LakeError, UsageError
from tests.pipelines.wear import CORPUS, SPACE, Killed, Worn, die_before, polled, texts, vector

REPO = Path(__file__).resolve().parents[2]
GONE = "s/gone.txt"
OLD, NEW, LAST = ("secretgone one", "secretgone two", "secretgone three")


def in_use(lake: str) -> Worn:
    """A lake that holds `gone` in every way: live, changed, in old versions, in logs, staged by a dead run."""
    worn = Worn(lake)
    others = texts(*"abcde")
    worn.night({**others, GONE: OLD, "s/broken.txt": "bad"})
    worn.night({**others, **texts("b", version="two"), GONE: NEW, "s/broken.txt": "bad"})
    worn.night(
        {**others, **texts("b", "f", version="two"), GONE: LAST, "s/broken.txt": "bad"}, dies="committed"
    )
    worn.storage.put(join(lake, CORPUS, "runs", "refused", "quarantined.parquet"), quarantined(worn))
    return worn


def quarantined(worn: Worn) -> bytes:
    rows = LakeReader.open(worn.lake).assets(CORPUS).to_table()
    sink = pa.BufferOutputStream()
    pq.write_table(rows, sink)
    return bytes(sink.getvalue())


@pytest.fixture
def worn(tmp_path: Path) -> Worn:
    return in_use(str(tmp_path / "lake"))


@pytest.fixture
def worn_anywhere(place: str) -> Worn:
    return in_use(join(place, "lake"))


def assert_gone(worn: Worn, uri: str = GONE) -> None:
    """Search every byte of the lake, and every file that is compressed by reading it."""
    found = worn.bytes()
    for content in (OLD, NEW, LAST):
        for ordinal in range(2):
            whole = vector(content, ordinal)
            for width in SPACE.card.widths:
                part = whole[:width] / (whole[:width] ** 2).sum() ** 0.5
                assert part.astype("float32").tobytes() not in found
    assert vector("secreta one", 0).tobytes() in found, "the search would find one"
    for word in (uri.encode(), b"secretgone"):
        assert word not in found
    for file in find(worn.storage, worn.lake):
        assert not names(worn, file.uri, uri), file.uri


def names(worn: Worn, file: str, uri: str) -> bool:
    """Whether a compressed file tells of an asset."""
    if file.endswith(".parquet"):
        rows = pq.read_table(pa.BufferReader(worn.storage.read(file)))
    elif "/data/" in file:
        rows = LanceFileReader(file, storage_options=worn.storage.lance_options(file)).read_all().to_table()
    else:
        return False
    values = (str(value) for row in rows.to_pylist() for value in row.values())
    return any(uri in value or "secretgone" in value for value in values)


def rest(rows: dict[str, list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [row for row in found if row["uri"] != GONE] for name, found in rows.items()}


def test_no_file_of_the_lake_holds_anything_of_it_and_the_rest_is_as_before(worn_anywhere: Worn) -> None:
    worn = worn_anywhere
    before = worn.rows()
    assert names(worn, *[f for f in worn.files("runs") if f.endswith("quarantined.parquet")], GONE)
    done = forget(worn.lake, CORPUS, [GONE])
    assert_gone(worn)
    assert worn.rows() == rest(before)
    assert (done.assets, done.segments) == (1, 2)
    assert done.versions > 3
    assert done.receipts >= 3
    change = worn.log().read().change
    assert isinstance(change, Erased)
    assert (change.assets, change.segments) == (1, 2)


def test_it_does_not_come_back_until_it_is_allowed_to(worn_anywhere: Worn) -> None:
    worn = worn_anywhere
    forget(worn.lake, CORPUS, [GONE])
    tonight = {**texts(*"abcdef"), GONE: NEW}
    worn.night(tonight)
    assert_gone(worn)
    assert allow_again(worn.lake, CORPUS, [GONE, "s/never.txt"]) == 1
    worn.night(tonight)
    assert GONE in {row["uri"] for row in worn.rows()["assets"]}
    assert allow_again(worn.lake, CORPUS, [GONE]) == 0


def test_an_asset_that_only_old_versions_hold_is_erased_from_them(worn: Worn) -> None:
    worn.night(texts(*"abcde"))
    assert b"secretgone" in worn.bytes()
    done = forget(worn.lake, CORPUS, [GONE])
    assert (done.assets, done.segments) == (0, 0)
    assert_gone(worn)


def test_an_error_of_another_asset_that_names_it_is_cleaned(worn: Worn) -> None:
    layout = Layout(worn.lake)
    reader = LakeReader.open(worn.lake)
    assets = Table(layout.assets(CORPUS, SPACE.id), worn.storage)
    row = reader.assets(CORPUS).to_table(filter="status = 'quarantined'").to_pylist()[0]
    other = {**row, "uri": "s/album.json", "error_detail": f"cannot read {GONE} of it"}
    told = pa.Table.from_pylist([other], schema=reader.assets(CORPUS).schema)
    version = assets.commit("by hand", reader.assets(CORPUS).version, assets.stage(told), [])
    base = worn.log().read()
    entry = base.corpora[CORPUS]
    worn.log().append(base, Published(corpus=CORPUS, space=SPACE.id, space_version=entry.now.version,
                                      assets_version=version, run_id="x", at=entry.published_at))  # fmt: skip
    forget(worn.lake, CORPUS, [GONE])
    assert_gone(worn)
    album = [row for row in worn.rows()["assets"] if row["uri"] == "s/album.json"]
    assert [row["error_detail"] for row in album] == ["cannot read [erased] of it"]


def test_indices_are_made_again_without_it(worn: Worn) -> None:
    worn.night({**texts(*"abcde"), GONE: NEW})
    reader = LakeReader.open(worn.lake)
    space = Table(Layout(worn.lake).space(CORPUS, SPACE.id), worn.storage)
    head = space.on_top(reader.segments(CORPUS).version)
    head.create_scalar_index("uri", "BTREE")
    head.create_scalar_index("text", "INVERTED")
    head.create_index(SPACE.vector_fields[0].name, "IVF_FLAT", num_partitions=1, metric="cosine")
    pin(worn, int(space.open().version))
    assert LakeReader.open(worn.lake).segments(CORPUS).to_table(full_text_query="secretgone").num_rows == 2
    forget(worn.lake, CORPUS, [GONE])
    assert_gone(worn)
    found = LakeReader.open(worn.lake).segments(CORPUS)
    assert sorted(i.index_type for i in found.describe_indices()) == ["BTree", "IVF_FLAT", "Inverted"]
    assert found.to_table(full_text_query="secretgone").num_rows == 0
    assert found.to_table(full_text_query="secreta").num_rows == 2


def pin(worn: Worn, version: int) -> None:
    base = worn.log().read()
    entry = base.corpora[CORPUS]
    versions = Versions(version=version, assets_version=entry.assets_version)
    worn.log().append(base, Maintained(corpus=CORPUS, spaces={SPACE.id: versions}, at=entry.published_at))


def test_killed_before_any_step_and_run_again_it_completes(tmp_path: Path) -> None:
    template = in_use(str(tmp_path / "template"))
    before = template.rows()
    for step in range(1, 100):
        lake = str(tmp_path / "lake")
        shutil.rmtree(lake, ignore_errors=True)
        shutil.copytree(template.lake, lake)
        worn = Worn(lake)
        with pytest.MonkeyPatch.context() as patch:
            die_before(patch, step)
            try:
                forget(lake, CORPUS, [GONE])
            except Killed:
                ended = False
            else:
                ended = True
        assert worn.rows() in (before, rest(before)), "readers see all of it or nothing"
        if ended:
            assert step > 20
            return
        assert choose(LakeReader.open(lake), CORPUS).uris in ((), (GONE,))
        forget(lake, CORPUS, [GONE])
        assert worn.rows() == rest(before)
        assert_gone(worn)
    pytest.fail("it never ends")


DRIVER = """
import sys
from pipelines.forget import forget
forget(sys.argv[1], "demo", ["s/gone.txt"])
"""


@pytest.mark.parametrize("delay_s", [0, 0.05, 0.2])
def test_killed_for_real_and_run_again_it_completes(tmp_path: Path, delay_s: float) -> None:
    worn = in_use(str(tmp_path / "lake"))
    before = worn.rows()
    process = subprocess.Popen([sys.executable, "-c", DRIVER, worn.lake], cwd=REPO)
    while not worn.files("forgotten"):
        assert process.poll() is None
        time.sleep(0.001)
    time.sleep(delay_s)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert worn.rows() in (before, rest(before))
    forget(worn.lake, CORPUS, [GONE])
    assert worn.rows() == rest(before)
    assert_gone(worn)


def test_a_night_between_the_kill_and_the_second_attempt_does_not_bring_it_back(
    worn: Worn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        die_before(patch, 4)
        with pytest.raises(Killed):
            forget(worn.lake, CORPUS, [GONE])
    worn.night({**texts(*"abcdefg"), GONE: LAST})
    forget(worn.lake, CORPUS, [])
    assert_gone(worn)
    assert {row["uri"] for row in worn.rows()["assets"]} == {f"s/{n}.txt" for n in "abcdefg"}


def test_maintenance_finishes_what_was_cut_short(worn: Worn) -> None:
    before = worn.rows()
    with pytest.MonkeyPatch.context() as patch:
        die_before(patch, 12)
        with pytest.raises(Killed):
            forget(worn.lake, CORPUS, [GONE])
    done = maintain(worn.lake, CORPUS)
    assert done.erasure is not None
    assert_gone(worn)
    assert worn.rows() == rest(before)
    assert maintain(worn.lake, CORPUS).erasure is None


def test_the_dead_run_of_others_continues_after_it(worn: Worn) -> None:
    tonight = {**texts(*"abcde"), **texts("b", version="two"), "s/broken.txt": "bad"}
    forget(worn.lake, CORPUS, [GONE])
    tonight |= texts("another", "further", "closing")
    worn.night(tonight, dies="committed")
    forget(worn.lake, CORPUS, ["s/c.txt"])
    del tonight["s/c.txt"]
    assert worn.night(tonight) == 0
    calm = Worn(worn.lake + "-calm")
    calm.night(tonight)
    assert worn.rows() == calm.rows()


def test_every_table_of_the_corpus_is_searched_whatever_it_is_for(worn: Worn) -> None:
    rows = pa.table({"uri": [GONE, "s/a.txt"], "media": [b"secretgone frame", b"other frame"]})
    for name in ("prepared/worn.lance", "previews.lance"):
        table = Table(join(worn.lake, CORPUS, name), worn.storage)
        table.ensure(rows.schema)
        table.commit("r", 1, table.stage(rows), [])
    forget(worn.lake, CORPUS, [GONE])
    assert_gone(worn)
    assert table.open().to_table()["uri"].to_pylist() == ["s/a.txt"]


def test_a_reader_that_polls_sees_it_or_not_and_nothing_between(worn: Worn) -> None:
    counts = [len(worn.rows()["segments"]), len(worn.rows()["segments"]) - 2]
    with polled(worn) as seen:
        forget(worn.lake, CORPUS, [GONE])
    assert seen
    assert set(seen) <= set(counts)


def test_what_is_meant_is_told_first(worn: Worn) -> None:
    worn.night({**texts(*"abcde"), GONE: NEW, "s/copy.txt": NEW, "s/broken.txt": "bad"})
    reader = LakeReader.open(worn.lake)
    by_uri = choose(reader, CORPUS, [GONE])
    assert (by_uri.uris, by_uri.assets, by_uri.segments, by_uri.copies) == ((GONE,), 1, 2, 1)
    by_segment = choose(reader, CORPUS, where="text LIKE 'secretgone%'")
    assert by_segment.uris == ("s/copy.txt", GONE)
    by_asset = choose(reader, CORPUS, where="status = 'quarantined'")
    assert by_asset.uris == ("s/broken.txt",)
    assert choose(reader, CORPUS, ["relative.txt"]).uris == (str(Path("relative.txt").absolute()),)
    with pytest.raises(UsageError, match="fits neither"):
        choose(reader, CORPUS, where="nothing = 1")
    for more in ("status = 'embedded' garbage", "uri = 'a') OR (uri = 'b'"):
        with pytest.raises(UsageError, match="it is not one expression"):
            choose(reader, CORPUS, where=more)


def test_a_run_that_is_on_is_not_disturbed(worn: Worn) -> None:
    with (
        held(worn.lake, CORPUS, worn.storage, "an embedding run"),
        pytest.raises(ConflictError, match="held by an embedding run"),
    ):
        forget(worn.lake, CORPUS, [GONE])


def test_an_erasure_that_left_something_says_so(worn: Worn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.lake.sweep.delete", lambda *_: None)
    with pytest.raises(LakeError, match="run it again"):
        forget(worn.lake, CORPUS, [GONE])
    monkeypatch.undo()


def test_the_list_of_what_is_forgotten_survives_collection(worn: Worn) -> None:
    forget(worn.lake, CORPUS, [GONE])
    maintain(worn.lake, CORPUS, days=0)
    collect(worn.lake, days=0)
    worn.night({**texts(*"abcde"), GONE: NEW})
    assert_gone(worn)
    space, options = Layout(worn.lake).space(CORPUS, SPACE.id), worn.storage.lance_options(worn.lake)
    assert lance.dataset(space, version="live", storage_options=options).count_rows() == 10
