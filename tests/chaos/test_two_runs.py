"""Two nightly runs at once, and a reader that looks all the time (I1)."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pipelines.reader import LakeReader
from schemas.errors import EmbedlakeError, ExitCode
from tests.chaos.corpus import write_corpus
from tests.chaos.killer import Run
from tests.chaos.test_kills import run_here


class Poll:
    """Reads both tables of the live corpus again and again, and keeps each state that it saw."""

    def __init__(self, lake: Path) -> None:
        self.lake = str(lake)
        self.seen: list[tuple[int, frozenset[str], frozenset[str]]] = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Poll:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            try:
                reader = LakeReader.open(self.lake)
                segments = reader.segments("c").to_table(columns=["uri"])["uri"].to_pylist()
                assets = reader.assets("c").to_table(columns=["uri", "status"]).to_pylist()
            except EmbedlakeError:
                time.sleep(0.05)
                continue
            embedded = frozenset(a["uri"] for a in assets if a["status"] == "embedded")
            state = (reader.catalog.corpora["c"].assets_version, frozenset(segments), embedded)
            if not self.seen or self.seen[-1] != state:
                self.seen.append(state)


@pytest.mark.usefixtures("local_ray")
def test_of_two_nights_at_once_one_publishes_and_readers_see_whole_versions_alone(tmp_path: Path) -> None:
    source, lake, ledger = tmp_path / "in", tmp_path / "lake", tmp_path / "ledger"
    write_corpus(source, 20)
    run_here(source, lake, ledger)
    for n in range(6):
        (source / f"{n:04d}-new.txt").write_text(f"a new note {n}")
    (source / "long.txt").unlink()
    with Poll(lake) as poll:
        first, second = (Run.start(source, lake, ledger) for _ in range(2))
        codes = sorted([first.wait(), second.wait()])
    assert codes in ([0, 0], [0, int(ExitCode.CONFLICT)]), codes
    rows = LakeReader.open(str(lake)).segments("c").to_table(columns=["uri", "segment_id"]).to_pylist()
    assert len({(r["uri"], r["segment_id"]) for r in rows}) == len(rows)
    assert len(LakeReader.open(str(lake)).runs("c")) == 2, "one of both published"
    before, *rest = poll.seen
    assert len(rest) == 1, "last night's tables, then tonight's, and nothing between"
    for _, segments, embedded in poll.seen:
        assert segments == embedded, "vectors and assets are of one version"
    assert {Path(u).name for u in rest[0][1] - before[1]} == {f"{n:04d}-new.txt" for n in range(6)}
    assert {Path(u).name for u in before[1] - rest[0][1]} == {"long.txt"}
