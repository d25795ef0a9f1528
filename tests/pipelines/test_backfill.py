"""A space built beside the live one holds what a run from scratch would have made, whatever nights come between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from operators.model.registry import FAMILIES
from operators.storage import Storage, join
from pipelines.backfill import BackfillJob, begun, continued, under_way
from pipelines.embed import EmbedJob
from pipelines.lease import Lease
from pipelines.nightly import NightJob
from pipelines.progress import Progress, Silent
from pipelines.reader import LakeReader
from pipelines.run import Run
from pipelines.spaces import coverage, promote, rollback
from pipelines.sql import query
from pipelines.status import status
from schemas.config import Policy, RunConfig
from schemas.corpus import Backfill
from schemas.errors import UsageError
from schemas.nightly import CorpusNight, Nightly, NightlyCorpus
from schemas.recipe import Recipe, TextRecipe
from schemas.report import RunReport
from tests.models.hashed import HashSpec
from tests.models.salted import SaltedSpec
from tests.operators.sources.test_archive import make_zip

pytestmark = pytest.mark.usefixtures("local_ray")

OLD, NEW = HashSpec(), SaltedSpec("new")
RECIPE = Recipe(text=TextRecipe(chunk_tokens=24, overlap_tokens=4))
CONFIG = RunConfig(actors=1, block_rows=8, shard_assets=4)
LINES = [{"id": 1, "parts": ["a first line"]}, {"id": 2, "parts": ["a second line", "in two parts"]}]


def put(place: str, files: dict[str, str]) -> str:
    for name, body in files.items():
        Storage().put(join(place, name), body.encode())
    return place


def pack(place: str, name: str, files: dict[str, str]) -> None:
    Storage().put(join(place, name), make_zip({name: body.encode() for name, body in files.items()}))


def job(lake: str, *sources: str, corpus: str = "c", **changes: Any) -> EmbedJob:
    plain = {"spec": OLD, "config": CONFIG, "policy": Policy(coverage_floor=0)}
    return EmbedJob(sources=sources, lake=lake, corpus=corpus, **{**plain, **changes})


def backfill(
    lake: str, batch_assets: int = 100, policy: Policy | None = None, **settings: Any
) -> BackfillJob:
    made = job(lake, spec=NEW, recipe=RECIPE, policy=policy or Policy())
    return BackfillJob(job=made, backfill=Backfill(model="new", **settings), batch_assets=batch_assets)


def space() -> str:
    return job("x", spec=NEW, recipe=RECIPE).space.id


def rows(lake: str, corpus: str, of: str | None = None) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The segments and the assets of a space, in order, without the names of runs."""
    reader = LakeReader.open(lake)
    tables = (reader.segments(corpus, of).to_table(), reader.assets(corpus, of).to_table())
    found = [table.drop_columns(["run_id"]).to_pylist() for table in tables]
    segments, assets = (sorted(t, key=lambda row: (row["uri"], row.get("ordinal", 0))) for t in found)
    return segments, assets


def fill(place: str) -> tuple[str, ...]:
    """A folder with metadata beside it, and a manifest of lines; some of it is broken."""
    source = join(place, "in")
    files = {f"t{n}.txt": f"note {n} on the {'boat ' * (n % 3)} of the harbour. " * 6 for n in range(8)}
    put(
        source,
        {**files, "empty.txt": "", "m.csv": "uri,reads\n" + "".join(f"t{n}.txt,{n}\n" for n in range(8))},
    )
    put(join(place, "lines"), {"l.jsonl": "\n".join(json.dumps(line) for line in LINES)})
    return (join(source, "m.csv"), join(place, "lines", "l.jsonl"), join(place, "more/"))


def test_a_space_built_beside_is_the_one_that_a_run_from_scratch_makes(place: str) -> None:
    sources, lake = fill(place), join(place, "lake")
    put(join(place, "more"), {"x.txt": "one more", "bad.txt": ""})
    pack(join(place, "more"), "z.zip", {"a.txt": "in an archive", "b.txt": "beside it " * 20, "bad.txt": ""})
    job(lake, *sources).run()
    live = rows(lake, "c")
    report = backfill(lake, batch_assets=3).run()
    assert (report.complete, report.coverage, report.left) == (True, 1.0, 0)
    assert (report.batches, report.embedded, report.quarantined) == (5, 13, 2)
    job(lake, *sources, corpus="scratch", spec=NEW, recipe=RECIPE).run()
    assert rows(lake, "c", space()) == rows(lake, "scratch")
    assert rows(lake, "c") == live, "the live space is as it was"
    again = backfill(lake).run()
    assert (again.batches, again.embedded, again.complete) == (0, 0, True)
    (corpus, _) = status(LakeReader.open(lake)).corpora
    assert [(s.live, s.coverage, s.building) for s in corpus.spaces] == [(True, 1, False), (False, 1, True)]


def test_nights_in_the_middle_reach_both_spaces_and_nothing_falls_between(tmp_path: Path) -> None:
    place = str(tmp_path)
    sources, lake = fill(place), join(place, "lake")
    put(join(place, "more"), {f"x{n}.txt": f"one more {n}" for n in range(6)})
    pack(join(place, "more"), "z.zip", {"a.txt": "in an archive", "b.txt": "words", "c.txt": "more words"})
    pack(join(place, "more"), "y.zip", {"a.txt": "in another archive"})
    job(lake, *sources).run()
    tiny = Policy(budget_gpu_hours=1e-9)
    first = backfill(lake, policy=tiny).run()
    assert 0 < first.embedded < 20
    assert not first.complete
    held = rows(lake, "c", space())[1]
    put(join(place, "in"), {"t1.txt": "something else altogether", "t7.txt": "other words"})
    put(
        join(place, "in"),
        {"m.csv": "uri,reads,who\n" + "".join(f"t{n}.txt,{n + 1},me\n" for n in range(1, 8))},
    )
    put(join(place, "more"), {"new.txt": "what the night brought", "x0.txt": "changed"})
    pack(join(place, "more"), "z.zip", {"a.txt": "in an archive", "b.txt": "WORDS", "d.txt": "new words"})
    pack(join(place, "more"), "y.zip", {"a.txt": "in yet another archive"})
    # Whichever block came first holds something that this night changes, if only the two lines.
    put(join(place, "lines"), {"l.jsonl": json.dumps({"id": 1, "parts": ["a first line, changed"]})})
    for row in held[:2] + held[-2:]:
        if "/more/" in row["uri"] and row["container"] is None:
            Path(row["uri"]).unlink()
    job(lake, *sources).run()
    covered = coverage(LakeReader.open(lake), "c", space())
    assert covered.held < covered.assets
    second = backfill(lake).run()
    assert (second.complete, second.coverage) == (True, 1.0)
    assert second.deleted + second.updated > 0
    job(lake, *sources, corpus="scratch", spec=NEW, recipe=RECIPE).run()
    assert rows(lake, "c", space()) == rows(lake, "scratch")


def test_an_archive_is_wanted_when_something_in_it_is_and_comes_with_the_first_of_it(tmp_path: Path) -> None:
    place, lake = f"{tmp_path}/in", f"{tmp_path}/lake"
    put(place, {"1.txt": "first", "3.txt": "third", "9.txt": "last"})
    pack(place, "a.zip", {"2.txt": "second", "8.txt": "late"})
    pack(place, "b.zip", {"7.txt": "not wanted"})
    job(lake, place).run()
    tiny = Policy(budget_gpu_hours=1e-9)
    name = "split_part(uri, '/', -1)"
    settings = {"where": f"{name} IN ('1.txt', '2.txt', '3.txt')", "priority": name}
    report = backfill(lake, batch_assets=2, policy=tiny, **settings).run()
    assert report.batches == 1
    held = [row["uri"].removeprefix(place + "/") for row in rows(lake, "c", space())[1]]
    assert set(held) <= {"1.txt", "a.zip", "a.zip!/2.txt", "a.zip!/8.txt"}, (
        "the first batch has the first two"
    )
    backfill(lake, **settings).run()
    held = [row["uri"].removeprefix(place + "/") for row in rows(lake, "c", space())[1]]
    assert held == ["1.txt", "3.txt", "a.zip", "a.zip!/2.txt", "a.zip!/8.txt"]


def test_a_second_look_that_stops_at_its_budget_is_not_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, lake = put(f"{tmp_path}/in", {"1.txt": "first", "2.txt": "second"}), f"{tmp_path}/lake"
    job(lake, source).run()
    Path(f"{source}/2.txt").unlink()
    through, reports = Run.through, list[RunReport]()

    def spent_in_the_second(run: Run, lease: Lease) -> RunReport:
        reports.append(through(run, lease).model_copy(update={"budget_spent": len(reports) == 1}))
        return reports[-1]

    monkeypatch.setattr(Run, "through", spent_in_the_second)
    report = backfill(lake, policy=Policy(coverage_floor=0)).run()
    assert [one.quarantine_reasons for one in reports] == [{"not_found": 1}] * 2
    assert not report.complete


def test_what_is_asked_for_first_comes_first_and_only_what_is_asked_for(tmp_path: Path) -> None:
    sources, lake = fill(str(tmp_path)), f"{tmp_path}/lake"
    job(lake, sources[0]).run()
    work = backfill(lake, batch_assets=2, where="reads < 6", priority="reads DESC")
    report = work.run()
    assert (report.complete, report.batches, report.embedded) == (True, 3, 6)
    runs = [run for run in LakeReader.open(lake).runs("c") if run.space == space()]
    found = dict(
        query(LakeReader.open(lake), f'SELECT reads, run_id FROM "c__{space()}"').to_pydict().items()
    )
    by_run = {
        run: sorted({r for r, at in zip(*found.values(), strict=True) if at == run})
        for run in found["run_id"]
    }
    assert [by_run[run.run_id] for run in runs] == [[4, 5], [2, 3], [0, 1]]
    with pytest.raises(UsageError, match="--where or --priority is not SQL"):
        backfill(lake, where="no such").run()
    reader = LakeReader.open(lake)
    widened = begun(job(lake, spec=NEW, recipe=RECIPE), "new", reader, {"where": "true"})
    assert widened.backfill == Backfill(model="new", where="true", priority="reads DESC")
    assert widened.run().embedded == 2
    with pytest.raises(UsageError, match="is the live space of corpus 'c'"):
        BackfillJob(job=job(lake), backfill=Backfill(model="old")).run()


class Watch:
    """Nobody watches the night."""

    def corpus(self, name: str) -> Progress:
        return Silent()

    def ended(self, outcome: CorpusNight) -> None: ...


def test_a_night_goes_on_with_the_backfill_and_the_promoted_space_with_the_nights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "salted", "tests.models.salted:SaltedSpec")
    folder = tmp_path / "new"
    put(str(folder), {"embedlake.json": '{"family": "salted"}'})
    source, lake = put(f"{tmp_path}/in", {f"{n}.txt": f"note {n}" for n in range(6)}), f"{tmp_path}/lake"
    job(lake, source).run()
    new = job(lake, spec=NEW, policy=Policy(budget_gpu_hours=1e-9))
    begun(new, str(folder), LakeReader.open(lake), {}).run()
    put(source, {"0.txt": "changed", "6.txt": "new"})
    Path(f"{source}/1.txt").unlink()
    config = Nightly(lake=lake, corpora=(NightlyCorpus(name="c", sources=(source,)),))
    night = NightJob(config=config, job=lambda *_: job(lake, source), watch=Watch()).run()
    (outcome,) = night.corpora
    assert outcome.error is None
    assert [(b.complete, b.coverage) for b in outcome.backfills] == [(True, 1.0)]
    job(lake, source, corpus="scratch", spec=NEW).run()
    assert rows(lake, "c", new.space.id) == rows(lake, "scratch")
    promote(lake, "c", new.space.id, force=True)
    assert under_way(LakeReader.open(lake).catalog.corpora["c"]) == []
    put(source, {"7.txt": "newer"})
    report = job(lake, source, spec=NEW).run()
    assert (report.counts.embedded, report.counts.unchanged) == (1, 6), "nights go on in the new space"
    rollback(lake, "c")
    assert job(lake, source).run().counts.embedded == 1, "and after a rollback in the old one"
    with pytest.raises(UsageError, match="is not being backfilled"):
        continued(job(lake), LakeReader.open(lake), new.space.id)
