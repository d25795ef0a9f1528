"""Garbage collection: whatever happened to a lake, what is readable or can be continued stays so."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.lake.layout import Layout
from operators.lake.tables import Table
from operators.storage import join
from pipelines import gc
from pipelines.gc import collect
from pipelines.lease import held
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from schemas.catalog import Opened
from schemas.errors import ConflictError, LakeError, UsageError
from tests.operators.lake.test_log import NOW
from tests.pipelines.wear import CORPUS, SPACE, Death, Killed, Worn, die_before, texts

MONTH_S = 30 * 86_400
NAMES = "abcdef"


def age(worn: Worn, below: str, seconds: float = MONTH_S) -> None:
    """Make files look older, as if their writer had died long ago."""
    for file in worn.files(below):
        then = time.time() - seconds
        os.utime(file, (then, then))


@pytest.fixture
def worn(tmp_path: Path) -> Worn:
    made = Worn(str(tmp_path / "lake"))
    made.night(texts("a", "b", "c"))
    return made


def space_table(worn: Worn) -> Table:
    return Table(Layout(worn.lake).space(CORPUS, SPACE.id), worn.storage)


NIGHT = st.tuples(
    st.sets(st.sampled_from(NAMES), min_size=1),
    st.sampled_from(["one", "two"]),
    st.sampled_from([None, None, "staging", "staged", "committed"]),
)
UPKEEP = st.sampled_from(["nothing", "nothing", "maintain", "gc", "gc now"])


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    nights=st.lists(st.tuples(NIGHT, UPKEEP), min_size=1, max_size=5),
    last=st.tuples(
        st.sets(st.sampled_from(NAMES), min_size=1), st.sampled_from(["staging", "staged", "committed"])
    ),
)
def test_after_any_history_readers_keep_their_rows_and_the_dead_run_continues(
    tmp_path: Path,
    nights: list[tuple[tuple[set[str], str, Death | None], str]],
    last: tuple[set[str], Death],
) -> None:
    worn = Worn(tempfile.mkdtemp(dir=tmp_path) + "/lake")
    worn.night(texts("a"))
    for (names, version, dies), upkeep in nights:
        worn.night(texts(*sorted(names), version=version), dies=dies)
        {
            "nothing": lambda: None,
            "maintain": lambda: maintain(worn.lake, CORPUS, days=0),
            "gc": lambda: collect(worn.lake),
            "gc now": lambda: collect(worn.lake, days=0),
        }[upkeep]()
    tonight = texts(*sorted(last[0]), version="three")
    worn.night(tonight, dies=last[1])
    before, reader = worn.rows(), LakeReader.open(worn.lake)
    collect(worn.lake, days=7)
    assert reader.segments(CORPUS).count_rows() == len(before["segments"]), "an open reader goes on"
    collect(worn.lake, days=0)
    assert worn.rows() == before
    embedded = worn.night(tonight)
    assert embedded == (2 * len(last[0]) - 3 if last[1] == "staging" and len(last[0]) > 1 else 0)
    calm = Worn(worn.lake + "-calm")
    calm.night(tonight)
    assert worn.rows() == calm.rows()


def test_what_a_dead_run_staged_goes_once_another_has_published(worn: Worn) -> None:
    worn.night(texts("a", "b", "c", "dead"), dies="staged")
    (dead,) = {uri.split("/")[-3] for uri in worn.files("runs") if "/receipts/" in uri} - published(worn)
    kept = collect(worn.lake, days=0)
    assert (kept.corpora[0].receipts, kept.corpora[0].dead_runs) == (3, 0), "those of the run that published"
    worn.night(texts("a", "b"))
    age(worn, f"runs/{dead}")
    found = collect(worn.lake, days=0)
    assert found.corpora[0].dead_runs == 1
    assert not worn.files("runs", dead)
    assert b"secretdead" not in worn.bytes()


def published(worn: Worn) -> set[str]:
    return {str(worn.log().read().corpora[CORPUS].run_id)}


def test_a_dead_run_of_today_is_not_taken_for_superseded_by_a_clock_that_differs(worn: Worn) -> None:
    worn.night(texts("a", "b", "c", "d"), dies="staged")
    (dead,) = {uri.split("/")[-3] for uri in worn.files("runs") if "/receipts/" in uri} - published(worn)
    age(worn, f"runs/{dead}", seconds=3600)  # before the entry that it is based on
    collect(worn.lake, days=0)
    assert worn.night(texts("a", "b", "c", "d")) == 0


def test_leftovers_that_no_receipt_knows_go_when_they_are_old(worn: Worn) -> None:
    layout = Layout(worn.lake)
    space_table(worn).stage(LakeReader.open(worn.lake).segments(CORPUS).to_table())
    strange = Table(layout.space(CORPUS, "never-published"), worn.storage)
    strange.ensure(LakeReader.open(worn.lake).segments(CORPUS).schema)
    young = collect(worn.lake)
    assert (young.corpora[0].table_files, young.corpora[0].spaces) == (0, ())
    age(worn, "spaces")
    before = worn.rows()
    old = collect(worn.lake)
    assert (old.corpora[0].table_files, old.corpora[0].spaces) == (1, ("never-published",))
    assert worn.rows() == before
    assert not [uri for uri in worn.files("spaces") if "never-published" in uri]


def test_tagged_versions_stay(worn: Worn) -> None:
    space = space_table(worn)
    version = LakeReader.open(worn.lake).segments(CORPUS).version
    space.open().tags.create("audit", version)
    expected = space.open("audit").count_rows()  # type: ignore[arg-type]
    worn.night(texts("c"))
    worn.night(texts("d"))
    found = collect(worn.lake, days=0)
    assert found.corpora[0].versions > 0
    assert space.open("audit").count_rows() == expected  # type: ignore[arg-type]


def test_a_dry_run_counts_what_the_real_one_frees_and_deletes_nothing(worn: Worn) -> None:
    worn.night(texts("b", "c"))
    files, size = sorted(worn.files()), worn_size(worn)
    dry = collect(worn.lake, days=0, dry_run=True)
    assert sorted(worn.files()) == files
    real = collect(worn.lake, days=0)
    assert real.corpora == dry.corpora
    assert real.bytes == dry.bytes > 0
    lease = sum(os.path.getsize(f) for f in worn.files("lease"))
    assert size - (worn_size(worn) - lease) == real.bytes


def worn_size(worn: Worn) -> int:
    return sum(os.path.getsize(f) for f in worn.files())


def test_a_run_that_is_on_is_left_alone(worn: Worn) -> None:
    files = sorted(worn.files())
    with (
        held(worn.lake, CORPUS, worn.storage, "an embedding run"),
        pytest.raises(ConflictError, match="held by an embedding run"),
    ):
        collect(worn.lake, days=0)
    assert sorted(f for f in worn.files() if "/lease/" not in f) == files


def test_old_entries_of_the_catalog_go_and_a_writer_that_slept_through_it_is_refused(
    worn: Worn, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = worn.log()
    asleep = log.read()
    worn.night(texts("a"))
    for n in range(6):
        worn.night(texts("a", "b" if n % 2 else "c"))
    monkeypatch.setattr(gc, "_HISTORY", 3)
    assert collect(worn.lake).catalog_entries == 0, "readers of the last days may hold them"
    newest = log.read()
    found = collect(worn.lake, days=0)
    assert found.catalog_entries == newest.number - 3
    assert log.numbers() == [newest.number - 2, newest.number - 1, newest.number]
    assert log.read() == newest
    entry = newest.corpora[CORPUS]
    change = Opened(corpus=CORPUS, space=entry.live, space_version=1, assets_version=1, at=NOW)
    with pytest.raises(ConflictError):
        log.append(asleep, change)
    assert log.numbers()[0] == newest.number - 2, "no entry below the kept ones"


def test_killed_before_any_deletion_it_leaves_every_reader_whole_and_the_next_one_finishes(
    tmp_path: Path,
) -> None:
    template = Worn(str(tmp_path / "template"))
    for names in ("abc", "bcd", "cde", "def"):
        template.night(texts(*names))
    tonight = texts(*"defgh")
    template.night(tonight, dies="committed")
    before = template.rows()
    for step in range(1, 50):
        worn = Worn(str(tmp_path / f"lake{step}"))
        shutil.copytree(template.lake, worn.lake)
        with pytest.MonkeyPatch.context() as patch:
            die_before(patch, step, batch=3)
            try:
                collect(worn.lake, days=0)
                break
            except Killed:
                pass
        assert worn.rows() == before
        collect(worn.lake, days=0)
        assert collect(worn.lake, days=0).bytes == 0, "nothing is left for a third"
        assert worn.rows() == before
        assert worn.night(tonight) == 0
    assert step > 10


def test_a_corpus_that_is_held_does_not_keep_the_others_from_being_collected(worn: Worn) -> None:
    log, other = worn.log(), "other"
    state = log.read()
    shutil.copytree(join(worn.lake, CORPUS), join(worn.lake, other))
    entry = state.corpora[CORPUS]
    change = Opened(
        corpus=other,
        space=entry.live,
        space_version=entry.now.version,
        assets_version=entry.assets_version,
        at=NOW,
    )
    log.append(state, change)
    worn.night(texts("a", "b"))
    count = len(space_table(worn).open().versions())
    with held(worn.lake, other, worn.storage, "a long run"), pytest.raises(ConflictError, match="'other'"):
        collect(worn.lake, days=0)
    assert len(space_table(worn).open().versions()) < count


def test_old_records_of_the_lease_and_cut_files_go(worn: Worn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "_EPOCHS", 2)
    for _ in range(5):
        with held(worn.lake, CORPUS, worn.storage, "a run"):
            pass
    worn.storage.put(join(worn.lake, CORPUS, "lease", ".tmp-cut"), b"half")
    collect(worn.lake, days=7)
    assert {Path(f).name.split(".")[0] for f in worn.files("lease")} == {"", "00000005", "00000006"}
    age(worn, "lease")
    collect(worn.lake, days=7)
    assert {Path(f).name.split(".")[0] for f in worn.files("lease")} == {"00000006", "00000007"}


def test_the_same_on_s3(bucket: str, s3_environment: object) -> None:
    worn = Worn(f"s3://{bucket}/lake")
    for names in ("abc", "bcd", "cde"):
        worn.night(texts(*names))
    worn.night(texts(*"cdef"), dies="staged")
    before = worn.rows()
    found = collect(worn.lake, days=0)
    assert found.corpora[0].versions > 0
    assert worn.rows() == before
    assert worn.night(texts(*"cdef")) == 0


def test_mistakes_are_one_line(tmp_path: Path, worn: Worn) -> None:
    with pytest.raises(LakeError, match="no lake at"):
        collect(str(tmp_path / "nowhere"))
    with pytest.raises(LakeError, match="no corpus 'x'"):
        collect(worn.lake, "x")
    with pytest.raises(UsageError, match="is no age"):
        collect(worn.lake, days=float("nan"))
    assert collect(worn.lake, days=1e12).corpora[0].versions == 0
