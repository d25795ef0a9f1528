"""A backfill that is killed again and again, and one that a night comes into, end as if undisturbed."""

from __future__ import annotations

import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.reader import LakeReader
from pipelines.spaces import coverage
from tests.chaos.corpus import write_corpus
from tests.chaos.driver import FAILPOINTS, backfill
from tests.chaos.killer import Run, Victim
from tests.chaos.test_kills import UNSTAGED, media, run_here
from tests.models.counting import embedded

SEED = int(os.environ.get("CHAOS_SEED", "0"))
SPACE = backfill("", "", "").job.space.id
VICTIMS: tuple[Victim, ...] = ("driver", "driver", "actor", "raylet")
pytestmark = pytest.mark.usefixtures("local_ray")


@dataclass(frozen=True)
class Calm:
    """A lake with a live space, and what an undisturbed backfill beside it makes."""

    source: Path
    lake: Path
    segments: list[dict[str, Any]]
    assets: list[dict[str, Any]]
    inputs: int


def tables(lake: Path, space: str | None = SPACE) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    reader = LakeReader.open(str(lake))
    found = (reader.segments("c", space), reader.assets("c", space))
    plain = [table.to_table().drop_columns(["run_id"]).to_pylist() for table in found]
    segments, assets = (sorted(rows, key=lambda r: (r["uri"], r.get("ordinal", 0))) for rows in plain)
    return segments, assets


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Calm:
    folder = tmp_path_factory.mktemp("calm")
    source, lake = folder / "in", folder / "lake"
    write_corpus(source, 120)
    run_here(source, lake, folder / "live")
    shutil.copytree(lake, folder / "template")
    assert backfill(str(source), str(lake), str(folder / "ledger")).run().complete
    return Calm(source, folder / "template", *tables(lake), embedded(folder / "ledger"))


def killed(calm: Calm, folder: Path, kills: int) -> None:
    lake, ledger = folder / "lake", folder / "ledger"
    shutil.copytree(calm.lake, lake)
    rng = random.Random(f"{SEED} {kills}")
    done = 0
    for kill in range(kills):
        share = (kill + rng.random()) / kills
        victim = rng.choice(VICTIMS)
        failpoint = rng.choice(FAILPOINTS) if rng.random() < 0.2 else ""
        run = Run.start(calm.source, lake, ledger, failpoint, "backfill")
        while run.process.poll() is None and embedded(ledger) < share * calm.inputs:
            time.sleep(0.01)
        while run.process.poll() is None and not run.kill(victim):
            time.sleep(0.01)
        done += run.wait() == 0
    assert done < kills
    assert backfill(str(calm.source), str(lake), str(ledger)).run().complete
    assert tables(lake) == (calm.segments, calm.assets)
    assert tables(lake, None) == tables(calm.lake, None), "the live space is as it was"
    assert media(lake) == media(calm.lake), "and what was prepared"
    again = embedded(ledger) - calm.inputs
    print(f"{kills} kills: {again} of {calm.inputs} inputs repeated")
    assert again <= kills * UNSTAGED


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_backfill_that_is_killed_again_and_again_ends_as_if_undisturbed(
    calm: Calm, tmp_path: Path, kills: int
) -> None:
    killed(calm, tmp_path, kills)


@pytest.mark.slow
def test_a_night_gets_its_turn_in_the_middle_of_a_backfill_and_both_spaces_are_complete(
    calm: Calm, tmp_path: Path
) -> None:
    source, lake, ledger = tmp_path / "in", tmp_path / "lake", tmp_path / "ledger"
    shutil.copytree(calm.source, source)
    run_here(source, lake, tmp_path / "live")
    beside = Run.start(source, lake, ledger, work="backfill")
    while beside.process.poll() is None and not embedded(ledger):
        time.sleep(0.02)
    for n in range(5):
        (source / f"new{n}.txt").write_text(f"a new note {n}")
    (source / "long.txt").unlink()
    (source / "0000-changed.txt").write_text("another")
    night = Run.start(source, lake, tmp_path / "live")
    assert (night.wait(), beside.wait()) == (0, 0)
    reader = LakeReader.open(str(lake))
    names = {Path(uri).name for uri in reader.segments("c").to_table(columns=["uri"])["uri"].to_pylist()}
    assert {f"new{n}.txt" for n in range(5)} <= names
    assert "long.txt" not in names
    assert coverage(reader, "c", SPACE).share == 1
    live, other = ({(r["uri"], r["segment_id"]) for r in tables(lake, space)[0]} for space in (None, SPACE))
    assert live == other, "one recipe: the same segments in both"
