"""The dataflow on a real Ray: a run that is left writes nothing more."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import ray
import ray.data

from operators.lake.receipts import Receipts
from operators.lake.tables import Table
from operators.model.contract import Inputs
from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from operators.sources.listing import list_source
from operators.stage import StageRows
from operators.storage import Storage
from pipelines.engine import dataflow
from pipelines.engine.cluster import Resources, cores
from pipelines.engine.dataflow import Dataflow
from pipelines.progress import Silent
from pipelines.shards import shards
from schemas.config import DecodeConfig, RunConfig
from schemas.errors import LakeError, ModelError
from schemas.recipe import Recipe
from schemas.space import Space
from schemas.tables import space_schema
from tests.models.hashed import HashEngine, HashSpec
from tests.models.slow import SlowSpec

CONFIG = RunConfig(actors=2, block_rows=2, shard_assets=2)
LAYOUTS = {
    "decoding apart": CONFIG.model_copy(update={"decode_apart": True}),
    "decoding in actors": CONFIG.model_copy(update={"decode_apart": False, "shard_assets": 30}),
}
"""An actor that decodes tells of each block of a shard, however many there are."""
STAGING_S = 0.7


class Left(Exception):
    """Whoever watches has seen enough."""


class BrokenStage(StageRows):
    """Fails some time into its writing."""

    def __call__(self, rows: pa.Table) -> pa.Table:
        time.sleep(STAGING_S)
        raise OSError("no space left on device")


class SlowStage(StageRows):
    """Takes its time between the first and the last byte, and marks both in the folder of the receipts."""

    def __call__(self, rows: pa.Table) -> pa.Table:
        key, storage = uuid.uuid4().hex, Storage()
        storage.put(f"{self.receipts.uri}.begun/{key}", b"1")
        time.sleep(STAGING_S)
        done = StageRows.__call__(self, rows)
        storage.put(f"{self.receipts.uri}.ended/{key}", b"1")
        return done


class GoneEngine(HashEngine):
    """Its weights are gone when its first input comes."""

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        raise ModelError("the tower is not installed")


class GoneSpec(HashSpec):
    def load(self, *_: object, **__: object) -> HashEngine:
        return GoneEngine()


def make_flow(
    tmp_path: Path,
    how: type[StageRows] = SlowStage,
    config: RunConfig = CONFIG,
    spec: HashSpec = HashSpec(),  # noqa: B008 frozen
) -> tuple[Dataflow, list[pa.Table]]:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(60):
        (source / f"{number}.txt").write_text(f"note {number}")
    recipe = Recipe()
    space, table = Space(card=spec.card, recipe=recipe), Table(f"{tmp_path}/t.lance", Storage())
    table.ensure(space_schema(space))
    fetcher = Fetcher(storage=Storage(), grants={str(source): (str(source),)}, max_bytes=1 << 20)
    receipts = Receipts(f"{tmp_path}/receipts", Storage())
    stage = how(table=table, receipts=receipts, schema=table.open().schema, run_id="r")
    read = ReadAssets(fetcher=fetcher, spec=spec, recipe=recipe)
    flow = Dataflow(read=read, space=space, stage=stage, config=config)
    return flow, list(shards(list_source(str(source), Storage()).table, config))


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("how", ["gives way", "fails"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_that_is_left_writes_nothing_afterwards(tmp_path: Path, how: str, layout: str) -> None:
    flow, cut = make_flow(tmp_path, config=LAYOUTS[layout])
    receipts, left_at = flow.stage.receipts.uri, 0.0

    def wanted() -> bool:
        nonlocal left_at
        left_at = time.monotonic()
        if how == "fails":
            raise Left
        return True

    try:
        assert flow.run(cut, 60, Silent(), wanted=wanted).gave_way
    except Left as left:
        kept = left  # as whoever reports an error holds its frames, and in them what Ray streams from
        assert kept.__traceback__ is not None
        taken, written = time.monotonic() - left_at, marks(receipts)
    else:
        taken, written = time.monotonic() - left_at, marks(receipts)
    assert written["begun"] == written["ended"]
    assert 0 < len(written["ended"]) < 30
    print(f"{how}: {taken:.2f} s")
    time.sleep(3 * STAGING_S)
    assert marks(receipts) == written


@pytest.mark.usefixtures("local_ray")
def test_a_run_that_fails_gives_back_its_cpus_while_its_error_is_held(tmp_path: Path) -> None:
    flow, cut = make_flow(tmp_path, BrokenStage)
    with pytest.raises(LakeError, match="no space left") as held:
        flow.run(cut, 60, Silent())
    until = time.monotonic() + 10
    while ray.available_resources().get("CPU") != ray.cluster_resources()["CPU"]:
        assert time.monotonic() < until, "an actor of the failed run keeps its CPUs"
        time.sleep(0.1)
    assert held.value.__traceback__ is not None


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_that_cannot_be_read_ends_the_run_in_its_own_words(tmp_path: Path, layout: str) -> None:
    flow, cut = make_flow(tmp_path, StageRows, LAYOUTS[layout], GoneSpec())
    with pytest.raises(ModelError, match=r"^the tower is not installed$"):
        flow.run(cut, 60, Silent())


class Stuck:
    """Goes in and never says that it is out."""

    def enter(self, desk: Any) -> None:
        context = ray.get_runtime_context()
        me = context.get_actor_id()
        ray.get(desk.begin.remote(me, [ray.put(context.current_actor)]))
        assert ray.get(desk.enter.remote("a key", me))


@pytest.mark.usefixtures("local_ray")
def test_whoever_never_comes_out_is_ended_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataflow, "_PATIENCE_SECONDS", 0.5)
    actor = ray.remote(num_cpus=0)(Stuck).remote()

    def fail() -> None:
        with dataflow.desk() as desk, dataflow.gate(desk):
            ray.get(actor.enter.remote(desk))
            raise Left

    with pytest.raises(Left):
        fail()
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(actor.__ray_ready__.remote())


def marks(receipts: str) -> dict[str, list[str]]:
    storage = Storage()
    return {kind: sorted(storage.names(f"{receipts}.{kind}")) for kind in ("begun", "ended")}


@pytest.mark.usefixtures("local_ray")
def test_whoever_has_joined_ray_keeps_their_settings(tmp_path: Path) -> None:
    before = ray.data.DataContext.get_current()
    block_bytes, limits = before.target_max_block_size, before.execution_options.resource_limits
    flow, cut = make_flow(tmp_path, StageRows)
    flow.run(cut, 60, Silent())
    after = ray.data.DataContext.get_current()
    assert (after.target_max_block_size, after.execution_options.resource_limits) == (block_bytes, limits)
    assert after.enable_progress_bars


@pytest.mark.parametrize(("passes", "calls"), [(1, 2), (2, 2), (4, 4)])
def test_an_actor_that_decodes_has_a_call_for_each_pass(passes: int, calls: int) -> None:
    found = Resources(actors=1, passes=passes, threads=1, gpu=False, max_actors=1, decode=True)
    assert found.calls == calls
    assert Resources(actors=1, passes=passes, threads=1, gpu=False, max_actors=1).calls == 2


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("actors", [None, 1, 2])
@pytest.mark.parametrize("concurrent", [True, False])
def test_the_pool_has_a_thread_of_the_model_for_each_core(actors: int | None, concurrent: bool) -> None:
    found = Resources.of(RunConfig(actors=actors), concurrent)
    at_once = found.actors * found.passes * found.threads
    assert cores() - found.actors < at_once <= max(cores(), found.actors)
    assert actors is None or found.actors == actors
    assert concurrent or found.passes == 1


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(("actors", "most", "found"), [(None, 1, (1, 1)), (1, 5, (1, 5)), (3, None, (3, 3))])
def test_the_pool_stays_within_its_bounds(
    actors: int | None, most: int | None, found: tuple[int, int]
) -> None:
    resources = Resources.of(RunConfig(actors=actors, max_actors=most), concurrent=False)
    assert (resources.actors, resources.max_actors) == found


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_pool_grows_while_calls_wait(tmp_path: Path, layout: str) -> None:
    config = LAYOUTS[layout].model_copy(update={"actors": 1, "max_actors": 2, "shard_assets": 4})
    flow, cut = make_flow(tmp_path, StageRows, config, SlowSpec())
    ran = flow.run(cut, 60, Silent())
    assert (ran.actors, len(ran.actor_seconds)) == (2, 2)
    staged = [row for receipt in flow.stage.receipts.read_all() for row in receipt.rows["uri"].to_pylist()]
    assert Counter(staged) == {f"{tmp_path}/in/{n}.txt": 2 for n in range(60)}, (
        "a segment and an outcome each"
    )


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("config", "decode"),
    [
        (RunConfig(), True),
        (RunConfig(decode_apart=True), False),
        (RunConfig(decode=DecodeConfig(isolated=False)), False),
        (RunConfig(decode=DecodeConfig(isolated=False), decode_apart=False), False),
    ],
)
def test_actors_on_cpus_decode_unless_decoders_share_their_process(config: RunConfig, decode: bool) -> None:
    found = Resources.of(config, concurrent=True)
    assert found.decode == decode
    assert found.shards >= 4 * found.actors
