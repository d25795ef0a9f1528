"""Several spaces in one corpus: the alias moves whole, runs go on meanwhile, and what is dropped is gone."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from operators.lake.log import CatalogLog
from operators.storage import join
from pipelines.forget import forget
from pipelines.gc import collect
from pipelines.ledger import Ledger
from pipelines.maintenance import maintain
from pipelines.reader import LakeReader
from pipelines.spaces import coverage, drop, find_space, promote, rollback, spaces
from pipelines.sql import query
from schemas.catalog import Compared, Promoted, Published, RolledBack
from schemas.corpus import Backfill, Verdict
from schemas.errors import ConflictError, GateError, LakeError, UsageError
from schemas.space import Space
from tests.models.salted import SaltedSpec
from tests.pipelines.wear import CORPUS, SPACE, Killed, Worn, die_before, texts, vector

NEW = SaltedSpec("new")
BACKFILL = Backfill(model="new")


def beside(worn: Worn) -> Worn:
    """The same lake, for nights of a space beside the live one."""
    return Worn(worn.lake, spec=NEW, backfill=BACKFILL)


@pytest.fixture
def worn(tmp_path: Path) -> Worn:
    return two_spaces(str(tmp_path / "lake"))


def two_spaces(lake: str) -> Worn:
    made = Worn(lake)
    made.night({**texts(*"abc"), "s/broken.txt": "bad"})
    beside(made).night({**texts(*"abc"), "s/broken.txt": "bad"})
    return made


def new_space() -> str:
    return beside(Worn("")).space.id


def test_readers_follow_the_alias_and_come_back(worn: Worn) -> None:
    before = worn.rows()
    assert LakeReader.open(worn.lake).space(CORPUS) == SPACE
    moved = promote(worn.lake, CORPUS, new_space(), force=True)
    reader = LakeReader.open(worn.lake)
    assert (moved.live, moved.before) == (new_space(), SPACE.id)
    assert reader.space(CORPUS) == beside(worn).space
    assert set(query(reader, f"SELECT * FROM {CORPUS}").column_names) >= {"embedding_48", "embedding_24"}
    assert query(reader, "SELECT count(*) AS n FROM assets").to_pylist() == [{"n": 4}]
    with pytest.raises(UsageError, match="live one of corpus 'demo' already"):
        promote(worn.lake, CORPUS, new_space(), force=True)
    assert rollback(worn.lake, CORPUS).live == SPACE.id
    assert worn.rows() == before
    kinds = [type(entry.change) for entry in reversed(worn.log().since(datetime.min.replace(tzinfo=UTC)))]
    assert kinds[-2:] == [Promoted, RolledBack], "the log tells what happened"
    with pytest.raises(UsageError, match="no space was live before"):
        rollback(worn.lake, CORPUS)


def test_a_reader_that_loops_through_promotions_never_sees_a_missing_alias_or_a_mixture(place: str) -> None:
    worn = two_spaces(join(place, "lake"))
    seen: set[str] = set()
    broken: list[str] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            reader = LakeReader.open(worn.lake)
            live = reader.catalog.corpora[CORPUS].live
            segments = reader.segments(CORPUS)
            widths = [n for n in segments.schema.names if n.startswith("embedding_")]
            expected = [f.name for f in Space.of(segments.schema).vector_fields]
            rows = query(reader, f"SELECT * FROM {CORPUS}")
            if Space.of(segments.schema).id != live or widths != expected or rows.num_rows != 6:
                broken.append(live)
            if not set(widths) <= set(rows.column_names) or reader.assets(CORPUS).count_rows() != 4:
                broken.append(f"mixture of {live}")
            seen.add(live)

    failures: list[BaseException] = []
    threads = [threading.Thread(target=_keeping(failures, read)) for _ in range(2)]
    for thread in threads:
        thread.start()
    rounds = 0
    while rounds < 15 or (len(seen) < 2 and not failures):
        rounds += 1
        promote(worn.lake, CORPUS, new_space(), force=True)
        rollback(worn.lake, CORPUS)
    ended.set()
    for thread in threads:
        thread.join()
    assert (failures, broken) == ([], [])
    assert seen == {SPACE.id, new_space()}


def _keeping(failures: list[BaseException], work: Callable[[], None]) -> Callable[[], None]:
    def call() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    return call


def judge(worn: Worn, *failures: str) -> None:
    base = worn.log().read()
    spaces = base.corpora[CORPUS].spaces
    now = datetime.now(UTC)
    verdict = Verdict(
        against=SPACE.id,
        revision=spaces[new_space()].revision,
        against_revision=spaces[SPACE.id].revision,
        failures=failures,
        at=now,
    )
    worn.log().append(base, Compared(corpus=CORPUS, space=new_space(), verdict=verdict, at=now))


def test_a_space_is_promoted_only_as_the_comparison_found_it_good_unless_forced(worn: Worn) -> None:
    with pytest.raises(
        GateError, match=f"never compared with the live one: run `embedlake compare {SPACE.id}"
    ):
        promote(worn.lake, CORPUS, new_space())
    judge(worn, "coverage 60.0% is below 99.0%")
    with pytest.raises(GateError, match=r"did not pass the gate: coverage 60\.0% is below"):
        promote(worn.lake, CORPUS, new_space())
    judge(worn)
    beside(worn).night(texts(*"abcd"))
    with pytest.raises(GateError, match="other rows than when it was compared"):
        promote(worn.lake, CORPUS, new_space())
    judge(worn)
    worn.night(texts(*"abcde"))
    with pytest.raises(GateError, match=f"{SPACE.id} has other rows than when it was compared"):
        promote(worn.lake, CORPUS, new_space())
    judge(worn)
    maintain(worn.lake, CORPUS)
    assert promote(worn.lake, CORPUS, new_space()).live == new_space()
    judge(worn, "again")
    rollback(worn.lake, CORPUS)
    assert promote(worn.lake, CORPUS, new_space(), force=True).forced


def test_a_promotion_in_the_middle_of_a_run_disturbs_neither(worn: Worn) -> None:
    ledger = Ledger.begin(worn.lake, CORPUS, SPACE, [], worn.storage)
    promote(worn.lake, CORPUS, new_space(), force=True)
    now = datetime.now(UTC)
    change = Published(corpus=CORPUS, space=SPACE.id, space_version=ledger.space_version,
                       assets_version=ledger.state.assets_version, run_id="late", at=now)  # fmt: skip
    ledger.announce(change)
    entry = worn.log().read().corpora[CORPUS]
    assert (entry.live, entry.spaces[SPACE.id].run_id) == (new_space(), "late")
    with pytest.raises(ConflictError):
        ledger.announce(change.model_copy(update={"run_id": "second"}))


def test_of_two_promotions_from_one_state_one_wins(worn: Worn) -> None:
    base = worn.log().read()
    change = Promoted(corpus=CORPUS, space=new_space(), at=datetime.now(UTC))
    CatalogLog(worn.log().layout, worn.storage).append(base, change)
    with pytest.raises(ConflictError):
        worn.log().append(base, change.model_copy(update={"forced": True}))


def in_files(worn: Worn, spec: SaltedSpec) -> bool:
    found = worn.bytes()
    return any(vector(f"secret{name} one", n, spec).tobytes() in found for name in "abc" for n in range(2))


def test_no_file_of_the_lake_holds_a_vector_of_a_dropped_space(place: str) -> None:
    worn = two_spaces(join(place, "lake"))
    beside(worn).night(texts(*"ab"))
    before = worn.rows()
    assert in_files(worn, NEW)
    done = drop(worn.lake, CORPUS, new_space())
    assert done.files > 5
    assert not in_files(worn, NEW)
    assert not [name for name in worn.files() if new_space() in name]
    assert vector("secreta one", 0).tobytes() in worn.bytes(), "the search would find one"
    assert worn.rows() == before
    assert [one.space for one in spaces(LakeReader.open(worn.lake), CORPUS)] == [SPACE.id]
    with pytest.raises(LakeError, match="no space"):
        drop(worn.lake, CORPUS, new_space())
    with pytest.raises(UsageError, match="is the live one"):
        drop(worn.lake, CORPUS, SPACE.id)
    forget(worn.lake, CORPUS, ["s/a.txt"])
    collect(worn.lake, days=0)
    beside(worn).night(texts(*"bc"))
    assert coverage(LakeReader.open(worn.lake), CORPUS, new_space()).share == 1, "it can be built again"


def test_a_dropped_space_that_was_live_is_no_rollback_any_more(worn: Worn) -> None:
    promote(worn.lake, CORPUS, new_space(), force=True)
    drop(worn.lake, CORPUS, SPACE.id)
    with pytest.raises(UsageError, match="no space was live before"):
        rollback(worn.lake, CORPUS)
    assert len(worn.rows()["segments"]) == 6


def test_a_drop_that_is_killed_before_any_step_is_finished_by_the_same_command(tmp_path: Path) -> None:
    template = two_spaces(str(tmp_path / "template"))
    before = template.rows()
    for step in range(1, 30):
        worn = Worn(str(tmp_path / f"lake{step}"))
        shutil.copytree(template.lake, worn.lake)
        with pytest.MonkeyPatch.context() as patch:
            die_before(patch, step, batch=3)
            try:
                drop(worn.lake, CORPUS, new_space())
                break
            except Killed:
                pass
        assert worn.rows() == before
        dropped = new_space() not in worn.log().read().corpora[CORPUS].spaces
        finish = [lambda: drop(worn.lake, CORPUS, new_space()), lambda: collect(worn.lake, days=0)]  # noqa: B023
        finish[step % 2 if dropped else 0]()
        assert not in_files(worn, NEW)
        assert worn.rows() == before
    assert step > 4


def test_what_is_forgotten_leaves_every_space(place: str) -> None:
    worn = two_spaces(join(place, "lake"))
    beside(worn).night({**texts(*"abc", version="two")}, dies="committed")
    done = forget(worn.lake, CORPUS, ["s/a.txt"])
    assert (done.assets, done.segments) == (1, 2), "as readers of the live space saw it"
    found = worn.bytes()
    for text in ("secreta one", "secreta two"):
        for spec in (worn.spec, NEW):
            assert vector(text, 0, spec).tobytes() not in found
    assert b"secreta" not in found
    reader = LakeReader.open(worn.lake)
    assert {r["uri"] for r in reader.assets(CORPUS, new_space()).to_table().to_pylist()} == {
        f"s/{n}.txt" for n in ("b", "c", "broken")
    }
    assert reader.segments(CORPUS, new_space()).count_rows() == 4


def test_maintenance_and_collection_keep_every_space_and_what_a_dead_backfill_has_staged(worn: Worn) -> None:
    for names in ("abcd", "abcde", "abcdef"):
        beside(worn).night(texts(*names))
    tonight = texts(*"abcdefgh")
    beside(worn).night(tonight, dies="staged")
    done = maintain(worn.lake, CORPUS, days=0)
    assert [t.fragments < t.fragments_before for t in done.tables if new_space() in t.table] == [True, True]
    worn.night(texts(*"abcx"))
    collect(worn.lake, days=0)
    assert beside(worn).night(tonight) == 0, "nothing is embedded twice"
    assert LakeReader.open(worn.lake).segments(CORPUS, new_space()).count_rows() == 16


def test_coverage_counts_what_is_held_as_it_is_now(worn: Worn) -> None:
    reader = LakeReader.open(worn.lake)
    assert (coverage(reader, CORPUS, new_space()).held, coverage(reader, CORPUS, SPACE.id).share) == (3, 1)
    worn.night({**texts(*"ac"), **texts("b", version="two"), **texts("d")})
    found = coverage(LakeReader.open(worn.lake), CORPUS, new_space())
    assert (found.assets, found.held, found.share) == (4, 2, 0.5)


def test_a_space_is_found_by_a_beginning_that_no_other_has(worn: Worn) -> None:
    reader = LakeReader.open(worn.lake)
    assert find_space(reader, CORPUS, "new") == new_space()
    with pytest.raises(LakeError, match="no space 'other'"):
        find_space(reader, CORPUS, "other")
    with pytest.raises(LakeError, match="several spaces begin with ''"):
        find_space(reader, CORPUS, "")
