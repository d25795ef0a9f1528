"""One writer a corpus: who holds the lease, who waits, and who takes over from the dead."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from operators.lake.layout import Layout
from operators.storage import Storage, join
from pipelines.lease import Owner, held
from schemas.errors import ConflictError, ExitCode

STORAGE = Storage()


def foreign(place: str, beat: datetime, epoch: int = 1) -> None:
    """A lease held by a process of another machine."""
    owner = Owner(
        host="elsewhere", machine="another boot", process="7 1", what="a run", since=beat, beat=beat, ttl_s=60
    )
    STORAGE.put(join(Layout(place).lease("c"), f"{epoch:08d}.json"), owner.model_dump_json().encode())


def test_a_second_writer_is_told_who_holds_the_corpus(place: str) -> None:
    refused = pytest.raises(
        ConflictError, match=r"corpus 'c' of .* is held by the night's run \(process \d+ on .+\)"
    )
    with held(place, "c", STORAGE, "the night's run"):
        with refused, held(place, "c", STORAGE, "another"):
            pass
        with held(place, "other", STORAGE, "another corpus"):
            pass
    assert ConflictError.exit_code == ExitCode.CONFLICT
    with held(place, "c", STORAGE, "the next"):
        pass


def test_a_second_writer_that_waits_gets_its_turn(place: str) -> None:
    order: list[str] = []
    inside = threading.Event()

    def first() -> None:
        with held(place, "c", STORAGE, "first"):
            inside.set()
            time.sleep(1)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(20)
    with held(place, "c", STORAGE, "second", wait_s=60):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_of_many_writers_that_start_together_one_is_inside_at_a_time(place: str) -> None:
    inside, most, failed = [0], [0], []

    def work() -> None:
        try:
            with held(place, "c", STORAGE, "a run", wait_s=120):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.05)
                inside[0] -= 1
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, failed) == ([1], [])


def test_a_killed_owner_of_this_machine_is_taken_over_at_once(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = str(tmp_path_factory.mktemp("lake"))
    code = (
        "import os, signal, sys\n"
        "from operators.storage import Storage\n"
        "from pipelines.lease import held\n"
        "with held(sys.argv[1], 'c', Storage(), 'a run'):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, place]).returncode < 0
    with held(place, "c", STORAGE, "the next"):
        pass


def test_an_owner_elsewhere_is_taken_over_when_its_beats_have_stopped(place: str) -> None:
    foreign(place, datetime.now(UTC) - timedelta(seconds=30))
    with pytest.raises(ConflictError, match="on elsewhere"), held(place, "c", STORAGE, "early"):
        pass
    foreign(place, datetime.now(UTC) - timedelta(seconds=61), epoch=2)
    with held(place, "c", STORAGE, "late"):
        pass


def test_an_owner_renews_and_learns_that_it_was_taken_for_dead(place: str) -> None:
    with held(place, "c", STORAGE, "slow", ttl_s=0.4) as lease:
        deadline = time.monotonic() + 30
        while "00000001.beat" not in STORAGE.names(Layout(place).lease("c")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        lease.check()
        foreign(place, datetime.now(UTC), epoch=2)
        assert lease.lost.wait(30)
        with pytest.raises(ConflictError, match="was taken over by another run"):
            lease.check()
