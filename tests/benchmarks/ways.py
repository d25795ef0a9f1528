"""Ways to do the same per-row work: a plain loop, the bound, and the pipeline itself."""

from __future__ import annotations

import multiprocessing as mp
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import polars as pl
import pyarrow as pa

from operators.embed import EmbedSegments
from operators.model.contract import ModelSpec
from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from operators.sources.listing import list_source
from operators.stage import StageRows
from operators.storage import Storage
from pipelines.donors import with_donors
from pipelines.embed import EmbedJob
from pipelines.ledger import Ledger
from pipelines.listing import combine
from pipelines.reader import LakeReader
from pipelines.reconcile import Attempts
from pipelines.shards import shards
from schemas.config import RunConfig
from schemas.recipe import Recipe
from schemas.space import Space
from schemas.tables import SEGMENT_KIND

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Timing:
    """Rows and seconds of one measured way, start-up excluded; and the seconds of its parts."""

    rows: int
    seconds: float
    parts: dict[str, float]

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds


@dataclass(frozen=True, slots=True)
class Work:
    """What every way does: the same shards, the same operators, the same token budget."""

    source: str
    spec: ModelSpec
    config: RunConfig = RunConfig()

    @property
    def reader(self) -> ReadAssets:
        """Fetch, decode, segment and prepare."""
        fetcher = Fetcher(storage=Storage(), grants={self.source: (self.source,)}, max_bytes=1 << 40)
        return ReadAssets(fetcher=fetcher, spec=self.spec, recipe=Recipe())

    def shards(self) -> list[pa.Table]:
        """The listing, cut as the pipeline cuts it."""
        return list(shards(list_source(self.source, Storage()).table, self.config))

    def embedder(self, threads: int) -> EmbedSegments:
        """The model, loaded."""
        space = Space(card=self.spec.card, recipe=Recipe())
        return EmbedSegments(
            engine=self.spec.load(threads=threads), space=space, token_budget=self.config.token_budget
        )


def plain_loop(work: Work, threads: int) -> Timing:
    """One process: read a shard, embed it, read the next."""
    embed, read = work.embedder(threads), work.reader
    pieces = work.shards()
    warm(embed, read, pieces[0])
    rows, parts = 0, {"read": 0.0, "embed": 0.0}
    started = time.perf_counter()
    for shard in pieces:
        before = time.perf_counter()
        tables = list(read(shard))
        parts["read"] += time.perf_counter() - before
        for table in tables:
            before = time.perf_counter()
            rows += count(embed(table))
            parts["embed"] += time.perf_counter() - before
    return Timing(rows, time.perf_counter() - started, parts)


def stage_by_stage(work: Work, lake: Path) -> Timing:
    """Each stage of the dataflow alone, on one thread: list, read, embed, stage, reconcile and publish."""
    space = Space(card=work.spec.card, recipe=Recipe())
    embed, read = work.embedder(1), work.reader
    ledger = Ledger.begin(str(lake), "c", space, [], Storage())
    receipts = ledger.receipts("bench")
    stage = StageRows(table=ledger.space_table, receipts=receipts, schema=ledger.schema(), run_id="bench")
    warm(embed, read, work.shards()[0])
    parts: dict[str, float] = {}

    def timed(name: str, call: Callable[[], T]) -> T:
        before = time.perf_counter()
        result = call()
        parts[name] = time.perf_counter() - before
        return result

    listing = timed("list", lambda: combine([list_source(work.source, Storage()).table]))
    pieces = list(shards(listing, work.config))
    tables = timed("read", lambda: [table for shard in pieces for table in read(shard)])
    done = timed("embed", lambda: [embed(table) for table in tables])
    timed("stage", lambda: stage(pa.concat_tables(done)))
    planned = with_donors(listing, pl.DataFrame(), full=True)
    result = timed("reconcile", lambda: Attempts(receipts.read_all(), planned).reconcile(ledger.space_table))
    timed("publish", lambda: ledger.announce(ledger.commit("bench", result.assets, result.fragments, [])))
    return Timing(sum(map(count, tables)), sum(parts.values()), parts)


def warm(embed: EmbedSegments, read: ReadAssets, shard: pa.Table) -> None:
    """First calls allocate and compile; nobody's clock runs yet."""
    for table in read(shard.slice(0, 8)):
        embed(table)


def count(table: pa.Table) -> int:
    """Segments in a table of the dataflow."""
    return sum(kind == SEGMENT_KIND for kind in table["kind"].to_pylist())


_READ: list[ReadAssets] = []


def _start(read: ReadAssets) -> None:
    import torch

    torch.set_num_threads(1)
    _READ.append(read)


def _read(shard: pa.Table) -> list[pa.Table]:
    return list(_READ[0](shard))


def bound(work: Work, readers: int, threads: int) -> Timing:
    """A process pool that decodes beside one model process: the same per-row work, and no storage at all."""
    embed = work.embedder(threads)
    pieces = work.shards()
    warm(embed, work.reader, pieces[0])
    with ProcessPoolExecutor(readers, mp.get_context("spawn"), _start, (work.reader,)) as pool:
        list(pool.map(_read, [piece.slice(0, 1) for piece in pieces[: readers * 2]]))
        rows, waited = 0, 0.0
        started = time.perf_counter()
        results = _ahead(pool, pieces, readers * 4)
        while True:
            before = time.perf_counter()
            tables = next(results, None)
            waited += time.perf_counter() - before
            if tables is None:
                break
            rows += sum(count(embed(table)) for table in tables)
        return Timing(rows, time.perf_counter() - started, {"waited": waited})


def _ahead(pool: ProcessPoolExecutor, pieces: list[pa.Table], depth: int) -> Iterator[list[pa.Table]]:
    futures = [pool.submit(_read, piece) for piece in pieces[:depth]]
    for index in range(len(pieces)):
        yield futures[index].result()
        if index + depth < len(pieces):
            futures.append(pool.submit(_read, pieces[index + depth]))


def pipeline(work: Work, lake: Path, sources: list[str] | None = None) -> Timing:
    """The product: list, plan, Ray Data, Lance on disk, commit. The caller has started Ray."""
    started = time.perf_counter()
    report = EmbedJob(
        sources=tuple(sources or [work.source]), lake=str(lake), spec=work.spec, config=work.config
    ).run()
    seconds = time.perf_counter() - started
    stored: Any = LakeReader.open(str(lake)).segments("corpus").count_rows()
    if stored != report.counts.segments:
        raise RuntimeError(f"{stored} rows in the lake, {report.counts.segments} reported")
    return Timing(report.counts.segments, seconds, dict(report.seconds))
