"""A driver killed in the middle of a run loses and doubles nothing, and what it staged is not embedded again."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from operators.storage import Storage
from pipelines.embed import EmbedJob
from pipelines.reader import LakeReader
from schemas.config import RunConfig
from tests.models.hashed import HashSpec
from tests.models.slow import SlowSpec

REPO = Path(__file__).resolve().parents[2]
CONFIG = RunConfig(actors=1, block_rows=4, shard_assets=4)
DRIVER = """
import sys
from pipelines.embed import EmbedJob
from schemas.config import RunConfig
from tests.models.slow import SlowSpec
source, lake = sys.argv[1:]
config = RunConfig(actors=1, block_rows=4, shard_assets=4)
EmbedJob(sources=(source,), lake=lake, spec=SlowSpec(), corpus="c", config=config).run()
"""


def rows(lake: str) -> list[dict[str, object]]:
    table = LakeReader.open(lake).segments("c").to_table()
    return sorted(table.to_pylist(), key=lambda row: (row["uri"], row["ordinal"]))


@pytest.mark.usefixtures("local_ray")
def test_a_killed_run_continues_from_its_receipts_and_ends_as_if_undisturbed(tmp_path: Path) -> None:
    for n in range(24):
        Storage().put(f"{tmp_path}/in/{n:03d}.txt", f"the note number {n} of the harbour".encode())
    source, lake = f"{tmp_path}/in", f"{tmp_path}/lake"
    killed_after_receipts(source, lake, at_least=2)
    assert rows(lake) == [], "nobody sees a run that did not publish"
    report = EmbedJob(sources=(source,), lake=lake, spec=SlowSpec(), corpus="c", config=CONFIG).run()
    assert 0 < report.resumed_segments < 24
    EmbedJob(sources=(source,), lake=f"{tmp_path}/calm", spec=HashSpec(), corpus="c", config=CONFIG).run()
    found, calm = rows(lake), rows(f"{tmp_path}/calm")
    for row in [*found, *calm]:
        row.pop("run_id")
    assert found == calm


def killed_after_receipts(source: str, lake: str, at_least: int) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, source, lake], cwd=REPO, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(list(Path(lake).glob("c/runs/*/receipts/*.parquet"))) < at_least:
        assert driver.poll() is None, "the driver ended before it could be killed"
        assert time.monotonic() < deadline, "the driver staged nothing in time"
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
