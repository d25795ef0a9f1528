"""A run in a process of its own: `python -m tests.chaos.driver SOURCE LAKE LEDGER [FAILPOINT] [backfill] [apart]`."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipelines.backfill import BackfillJob
from pipelines.embed import EmbedJob
from schemas.config import Policy, RunConfig
from schemas.corpus import Backfill
from schemas.errors import EmbedlakeError
from tests.models.counting import CountingSpec

BLOCK_ROWS = 16
BATCH_ASSETS = 60
CONFIG = RunConfig(actors=1, block_rows=BLOCK_ROWS, shard_assets=8)
SECONDS_PER_INPUT = 0.02


def job(source: str, lake: str, ledger: str, salt: str = "a", apart: bool = False) -> EmbedJob:
    return EmbedJob(
        sources=(source,),
        lake=lake,
        spec=CountingSpec(salt=salt, ledger=ledger, seconds=SECONDS_PER_INPUT),
        corpus="c",
        config=CONFIG.model_copy(update={"decode_apart": apart}),
        policy=Policy(coverage_floor=0.9),
        keep_prepared=True,
    )


def backfill(source: str, lake: str, ledger: str, apart: bool = False) -> BackfillJob:
    beside = replace(job(source, lake, ledger, "b", apart), sources=())
    return BackfillJob(job=beside, backfill=Backfill(model="b"), batch_assets=BATCH_ASSETS)


def _die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _then_die(call: Callable[..., Any]) -> Callable[..., Any]:
    def called(*args: Any, **kwargs: Any) -> Any:
        call(*args, **kwargs)
        _die()

    return called


def arm(failpoint: str) -> None:
    """Die for good at a step of the commit."""
    import lance

    from operators.lake.tables import Table
    from operators.storage import Storage
    from pipelines.ledger import Ledger

    if failpoint == "before the space's version":
        Table.commit = _die  # type: ignore[method-assign]
    elif failpoint == "while the space's version is written":
        _die_inside(lance)
    elif failpoint == "after the space's version":
        Table.landed = _second(Table.landed)  # type: ignore[method-assign]
    elif failpoint == "after the assets' version":
        Ledger.commit = _then_die(Ledger.commit)  # type: ignore[method-assign]
    elif failpoint == "after the prepared media's version":
        Ledger._commit_media = _then_die(Ledger._commit_media)  # type: ignore[method-assign]
    elif failpoint == "before the catalog moves":
        Ledger.announce = _die  # type: ignore[method-assign]
    elif failpoint == "while the catalog moves":
        Storage.put_if_absent = _catalog_then_die(Storage.put_if_absent)  # type: ignore[method-assign]
    elif failpoint == "before the tag moves":
        Table.tag_live = _die  # type: ignore[method-assign]
    elif failpoint == "after the tag moved":
        Table.tag_live = _then_die(Table.tag_live)  # type: ignore[method-assign]


def _die_inside(lance: Any) -> None:
    """A commit in a thread that the process does not survive: the manifest may be there or not."""
    import random
    import threading
    import time

    commit = lance.LanceDataset.commit

    def called(*args: Any, **kwargs: Any) -> Any:
        thread = threading.Thread(target=commit, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        time.sleep(random.uniform(0, 0.01))
        _die()

    lance.LanceDataset.commit = called


def _second(landed: Callable[..., Any]) -> Callable[..., Any]:
    """Die at the second question whether a commit landed: that of the assets."""
    calls = []

    def called(*args: Any) -> Any:
        calls.append(args)
        return _die() if len(calls) == 2 else landed(*args)

    return called


def _catalog_then_die(put: Callable[..., bool]) -> Callable[..., bool]:
    def called(storage: Any, uri: str, data: bytes) -> bool:
        made = put(storage, uri, data)
        return _die() if "/catalog/" in uri and b'"published"' in data else made

    return called


FAILPOINTS = (
    "before the space's version",
    "while the space's version is written",
    "after the space's version",
    "after the assets' version",
    "after the prepared media's version",
    "before the catalog moves",
    "while the catalog moves",
    "before the tag moves",
    "after the tag moved",
)

if __name__ == "__main__":
    arm(sys.argv[4] if len(sys.argv) > 4 else "")
    work = backfill if "backfill" in sys.argv[5:] else job
    try:
        print(work(*sys.argv[1:4], apart="apart" in sys.argv[5:]).run().model_dump_json())
    except EmbedlakeError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
