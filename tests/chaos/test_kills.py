"""Kill any process of a run at any instant and run the same command again: the table is that of a calm run (I3)."""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from operators.lake.tables import Table
from pipelines.reader import LakeReader
from schemas.report import RunReport
from tests.chaos.corpus import write_corpus
from tests.chaos.driver import BLOCK_ROWS, FAILPOINTS, SECONDS_PER_INPUT, job
from tests.chaos.killer import VICTIMS, Run, Victim
from tests.models.counting import embedded

pytestmark = pytest.mark.usefixtures("local_ray")

SEED = int(os.environ.get("CHAOS_SEED", "0"))
UNSTAGED = BLOCK_ROWS
"""Embedded and not yet staged, at most: of the one actor's block, the half being written and the half in the model."""


@dataclass(frozen=True)
class Calm:
    """A run that nobody disturbed."""

    source: Path
    rows: list[dict[str, Any]]
    assets: list[dict[str, Any]]
    media: list[dict[str, Any]]
    inputs: int


def rows(lake: Path) -> list[dict[str, Any]]:
    table = LakeReader.open(str(lake)).segments("c").to_table().drop_columns(["run_id"])
    return sorted(table.to_pylist(), key=lambda row: (row["uri"], row["ordinal"]))


def assets(lake: Path) -> list[dict[str, Any]]:
    table = LakeReader.open(str(lake)).assets("c").to_table().drop_columns(["run_id"])
    return sorted(table.to_pylist(), key=lambda row: row["uri"])


def media(lake: Path) -> list[dict[str, Any]]:
    """The prepared media, none of them twice."""
    reader = LakeReader.open(str(lake))
    ((name, version),) = reader.catalog.corpora["c"].prepared.items()
    found = Table(reader.layout.prepared("c", name), reader.storage).open(version).to_table().to_pylist()
    return sorted(found, key=lambda row: (row["uri"], row["kind"], row["ordinal"] or 0))


def run_here(source: Path, lake: Path, ledger: Path) -> RunReport:
    """A run that nobody kills, on the session's Ray: a Ray of its own is most of what a small run costs."""
    return job(str(source), str(lake), str(ledger)).run()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    source, lake, ledger = folder / "in", folder / "lake", folder / "ledger"
    write_corpus(source, 300)
    run_here(source, lake, ledger)
    return Calm(source, rows(lake), assets(lake), media(lake), embedded(ledger))


def killed_and_run_again(calm: Calm, folder: Path, victim: Victim, instant: float) -> int:
    """Kill once, run again; inputs embedded more than once.

    An instant from 0 to 1 is a share of the inputs that have been in the model, below 0 it is before the first and
    above 1 after the last: a machine's load does not move what is killed. One run in two decodes in its actors; only
    the others have decode tasks to kill.
    """
    lake, ledger = folder / "lake", folder / "ledger"
    run = Run.start(calm.source, lake, ledger, apart=victim == "task" or instant * 100 % 2 < 1)
    started = time.monotonic()
    while run.process.poll() is None and not _due(instant, started, embedded(ledger) / calm.inputs):
        time.sleep(0.005)
    time.sleep((instant - 1) * _TAIL_S / _TAIL if instant > 1 else instant * 977 % 1 * _HALF_S)
    while run.process.poll() is None and not run.kill(victim):
        time.sleep(0.005)
    if run.wait() != 0:
        run_here(calm.source, lake, ledger)
    assert rows(lake) == calm.rows
    assert assets(lake) == calm.assets
    assert media(lake) == calm.media
    return embedded(ledger) - calm.inputs


_HEAD, _HEAD_S = 0.15, 15.0
_TAIL, _TAIL_S = 0.15, 2.0
_HALF_S = BLOCK_ROWS / 2 * SECONDS_PER_INPUT
"""The ledger is written as half a block begins; the kill falls anywhere in it."""


def _due(instant: float, started: float, progress: float) -> bool:
    if instant < 0:
        return time.monotonic() - started > (1 + instant / _HEAD) * _HEAD_S
    return progress >= min(instant, 1) and progress > 0


@pytest.mark.parametrize(
    "victim", [*VICTIMS[:2], *(pytest.param(v, marks=pytest.mark.slow) for v in VICTIMS[2:])]
)
def test_a_run_with_a_killed_part_ends_as_if_undisturbed(calm: Calm, tmp_path: Path, victim: Victim) -> None:
    instant = random.Random(f"{SEED} {victim}").uniform(0.2, 0.8)
    assert killed_and_run_again(calm, tmp_path, victim, instant) <= UNSTAGED


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(30))
def test_killed_at_a_random_instant_it_ends_as_if_undisturbed(calm: Calm, tmp_path: Path, trial: int) -> None:
    rng = random.Random(f"{SEED} {trial}")
    victim, instant = rng.choice(VICTIMS), rng.uniform(-_HEAD, 1 + _TAIL)
    again = killed_and_run_again(calm, tmp_path, victim, instant)
    print(f"trial {trial}: {victim} at {instant:.2f} of the run, {again} of {calm.inputs} inputs repeated")
    assert again <= UNSTAGED


_EACH_TABLE = (FAILPOINTS[1], FAILPOINTS[3], FAILPOINTS[5])
"""A crash at each of the three things that a publish moves: the space, the assets, the catalog."""


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Path:
    """A lake whose run was killed when all was staged and nothing committed, and a calm one beside it."""
    folder = tmp_path_factory.mktemp("staged")
    write_corpus(folder / "in", 12)
    run = Run.start(folder / "in", folder / "lake", folder / "ledger", FAILPOINTS[0])
    assert run.wait() != 0
    assert embedded(folder / "ledger"), "it came to the commit"
    shutil.copytree(folder / "lake", folder / "calm")
    run_here(folder / "in", folder / "calm", folder / "ledger")
    return folder


@pytest.mark.parametrize(
    "failpoint", [f if f in _EACH_TABLE else pytest.param(f, marks=pytest.mark.slow) for f in FAILPOINTS]
)
def test_a_crash_inside_the_commit_publishes_all_or_nothing(
    staged: Path, tmp_path: Path, failpoint: str
) -> None:
    lake, ledger = tmp_path / "lake", staged / "ledger"
    shutil.copytree(staged / "lake", lake)
    before = embedded(ledger)
    assert Run.start(staged / "in", lake, ledger, failpoint).wait() != 0
    seen = rows(lake)
    assert seen in ([], rows(staged / "calm"))
    assert bool(seen) == (failpoint in FAILPOINTS[6:]), "the catalog's step is the visible one"
    run_here(staged / "in", lake, ledger)
    assert rows(lake) == rows(staged / "calm")
    assert assets(lake) == assets(staged / "calm")
    assert media(lake) == media(staged / "calm")
    assert embedded(ledger) == before, "nothing is embedded twice"
    run_here(staged / "in", lake, ledger)
    assert len(LakeReader.open(str(lake)).runs("c")) == 1


@pytest.mark.slow
def test_a_long_asset_killed_half_way_loses_and_doubles_no_segment(tmp_path: Path) -> None:
    source, lake, ledger = tmp_path / "in", tmp_path / "lake", tmp_path / "ledger"
    source.mkdir()
    (source / "long.txt").write_text(" ".join(f"word{n}" for n in range(120_000)))
    run = Run.start(source, lake, ledger)
    while len(list(lake.glob("c/runs/*/receipts/*.parquet"))) < 6 and run.process.poll() is None:
        time.sleep(0.02)
    assert run.kill("driver")
    run.wait()
    run_here(source, lake, ledger)
    found = rows(lake)
    assert len(found) > 500
    assert [row["ordinal"] for row in found] == list(range(len(found)))
    assert len({row["segment_id"] for row in found}) == len(found)
    text = (source / "long.txt").read_text()
    assert found[0]["char_start"] == 0
    assert found[-1]["char_end"] == len(text)
    assert all(row["text"] == text[row["char_start"] : row["char_end"]] for row in found)
    assert embedded(ledger) - len(found) <= UNSTAGED
