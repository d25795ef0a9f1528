"""The dataflow on a real Ray: a run that is left writes nothing more."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pyarrow as pa
import pytest

from operators.lake.receipts import Receipts
from operators.lake.tables import Table
from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from operators.sources.listing import list_source
from operators.stage import StageRows
from operators.storage import Storage
from pipelines.engine import Dataflow
from pipelines.progress import Silent
from pipelines.shards import shards
from schemas.config import RunConfig
from schemas.recipe import Recipe
from schemas.space import Space
from schemas.tables import space_schema
from tests.models.hashed import HashSpec

CONFIG = RunConfig(actors=2, block_rows=2, shard_assets=2)
STAGING_S = 0.7


class Left(Exception):
    """Whoever watches has seen enough."""


class SlowStage(StageRows):
    """Takes its time between the first and the last byte, and marks both in the folder of the receipts."""

    def __call__(self, rows: pa.Table) -> pa.Table:
        key, storage = uuid.uuid4().hex, Storage()
        storage.put(f"{self.receipts.uri}.begun/{key}", b"1")
        time.sleep(STAGING_S)
        done = StageRows.__call__(self, rows)
        storage.put(f"{self.receipts.uri}.ended/{key}", b"1")
        return done


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("how", ["gives way", "fails"])
def test_a_run_that_is_left_writes_nothing_afterwards(tmp_path: Path, how: str) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(60):
        (source / f"{number}.txt").write_text(f"note {number}")
    spec, recipe, receipts = HashSpec(), Recipe(), f"{tmp_path}/receipts"
    space, table = Space(card=spec.card, recipe=recipe), Table(f"{tmp_path}/t.lance", Storage())
    table.ensure(space_schema(space))
    fetcher = Fetcher(storage=Storage(), grants={str(source): (str(source),)}, max_bytes=1 << 20)
    stage = SlowStage(
        table=table, receipts=Receipts(receipts, Storage()), schema=table.open().schema, run_id="r"
    )
    flow = Dataflow(
        read=ReadAssets(fetcher=fetcher, spec=spec, recipe=recipe), space=space, stage=stage, config=CONFIG
    )
    left_at = 0.0

    def wanted() -> bool:
        nonlocal left_at
        left_at = time.monotonic()
        if how == "fails":
            raise Left
        return True

    cut = shards(list_source(str(source), Storage()).table, CONFIG)
    try:
        assert flow.run(cut, 60, Silent(), wanted=wanted).gave_way
    except Left as left:
        kept = left  # as whoever reports an error holds its frames, and in them what Ray streams from
        assert kept.__traceback__ is not None
        taken, written = time.monotonic() - left_at, marks(receipts)
    else:
        taken, written = time.monotonic() - left_at, marks(receipts)
    assert written["begun"] == written["ended"]
    assert 0 < len(written["ended"]) < 60
    print(f"{how}: {taken:.2f} s")
    time.sleep(3 * STAGING_S)
    assert marks(receipts) == written


def marks(receipts: str) -> dict[str, list[str]]:
    storage = Storage()
    return {kind: sorted(storage.names(f"{receipts}.{kind}")) for kind in ("begun", "ended")}
