"""Forget assets: out of every table, every old version and every file of a run, proven, and not to come back.

The steps are in an order that a kill anywhere leaves whole: readers move from a lake with the assets to one without
in one catalog entry, and what is still to be erased is written down until nothing is.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from operators.lake.erasure import ErasedTable, check_erased
from operators.lake.files import delete, find, remove_cut_tables, spilled, table_uris
from operators.lake.groups import erase_any
from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.lake.runs import run_folders
from operators.lake.sweep import Sweep, sweep
from operators.lake.tables import LIVE_TAG, Table
from operators.lake.tombstones import Tombstones
from operators.lake.traces import Traces
from operators.storage import Storage, explained, normalize
from pipelines.gc import needed_files
from pipelines.lease import Lease, held
from pipelines.reader import LakeReader
from schemas.card import Frozen
from schemas.catalog import Catalog, Erased
from schemas.errors import LakeError

_EVER = datetime.max.replace(tzinfo=UTC)


class Erasure(Frozen):
    """What was erased, of all spaces. `assets` and `segments` count rows that readers of the live one saw until now."""

    lake: str
    corpus: str
    forgotten: int
    assets: int
    segments: int
    receipts: int
    versions: int
    files: int
    bytes: int
    catalog_entry: int | None


def unfinished(layout: Layout, corpus: str, storage: Storage) -> list[str]:
    """What an erasure that was cut short was to erase."""
    try:
        body = storage.read(layout.erasure(corpus))
    except FileNotFoundError:
        return []
    return pl.read_parquet(io.BytesIO(body))["uri"].to_list()


def forget(
    lake: str, corpus: str, uris: Sequence[str], storage: Storage = Storage(), *, wait_s: float = 0.0
) -> Erasure:
    """Erase assets, and what an erasure that was cut short has left to erase.

    Args:
        lake: its URI.
        corpus: in which.
        uris: exactly as `choose` returned them.
        storage: how to reach the lake.
        wait_s: how long to wait for a run that holds the corpus.

    Raises:
        ConflictError: a run holds the corpus.
        LakeError: something of them is left, or the lake cannot be read or written; run it again.
    """
    layout = LakeReader.open(lake, storage).layout
    with (
        explained(layout.lake, LakeError),
        held(layout.lake, corpus, storage, "an erasure", wait_s) as lease,
    ):
        return erase_held(CatalogLog(layout, storage), corpus, uris, lease)


def erase_held(log: CatalogLog, corpus: str, uris: Sequence[str], lease: Lease) -> Erasure:
    """As `forget`, in a corpus that this process holds."""
    layout, storage = log.layout, log.storage
    wanted = sorted({*uris, *unfinished(layout, corpus, storage)})
    _write_unfinished(layout, corpus, storage, wanted)
    tombstones = Tombstones.read(layout.tombstones(corpus), storage)
    tombstones.adding(wanted).write(layout.tombstones(corpus), storage)
    erasing = _Erasing(log, corpus, Traces(wanted), lease)
    done = erasing.run()
    erasing.prove()
    delete(storage, [layout.erasure(corpus)])
    return done


def allow_again(
    lake: str, corpus: str, uris: Iterable[str], storage: Storage = Storage(), *, wait_s: float = 0.0
) -> int:
    """Let forgotten assets come back with the next run that lists them.

    Returns:
        how many of them were forgotten.

    Raises:
        ConflictError: a run holds the corpus.
        LakeError: the lake cannot be read or written.
    """
    layout = LakeReader.open(lake, storage).layout
    with (
        explained(layout.lake, LakeError),
        held(layout.lake, corpus, storage, "an erasure", wait_s),
    ):
        tombstones = Tombstones.read(layout.tombstones(corpus), storage)
        fewer = tombstones.without({spelling for uri in uris for spelling in (uri, normalize(uri))})
        if fewer != tombstones:
            fewer.write(layout.tombstones(corpus), storage)
    return len(tombstones.hashes) - len(fewer.hashes)


def forgotten_mask(lake: str, corpus: str, uris: pl.Series, storage: Storage = Storage()) -> pl.Series:
    """Whether each of `uris` [n], or an archive around it, was forgotten, as booleans [n].

    Raises:
        LakeError: the list cannot be read.
    """
    return tombstones(lake, corpus, storage).mask(uris)


def tombstones(lake: str, corpus: str, storage: Storage = Storage()) -> Tombstones:
    """What was forgotten and is not to be embedded.

    Raises:
        LakeError: the list cannot be read.
    """
    layout = Layout(lake)
    with explained(layout.lake, LakeError):
        return Tombstones.read(layout.tombstones(corpus), storage)


@dataclass(frozen=True, slots=True)
class _Erasing:
    """One erasure of a corpus that this process holds."""

    log: CatalogLog
    corpus: str
    traces: Traces
    lease: Lease

    def run(self) -> Erasure:
        layout, storage = self.log.layout, self.log.storage
        base = self.log.read()
        remove_cut_tables(layout, self.corpus, storage)
        tables = [Table(uri, storage) for uri in table_uris(layout, self.corpus, storage)]
        pinned = layout.pinned(self.corpus, base.corpora[self.corpus])
        erased = {}
        for table in tables:
            self.lease.check()
            erased[table.uri] = erase_any(
                table, pinned.get(table.uri, int(table.open().version)), self.traces
            )
        entry = self._publish(base, pinned, erased)
        self._move_tags(tables, erased)
        receipts = self._scrub_runs()
        swept = self._sweep(tables, erased)
        segments, assets = layout.tables(self.corpus, base.corpora[self.corpus].live)
        return Erasure(
            lake=layout.lake,
            corpus=self.corpus,
            forgotten=len(self.traces.uris),
            assets=erased[assets].rows,
            segments=erased[segments].rows,
            receipts=receipts,
            versions=sum(len(one.versions) for one in swept),
            files=sum(len(one.manifests) + len(one.files) for one in swept),
            bytes=sum(one.size for one in swept),
            catalog_entry=entry,
        )

    def _scrub_runs(self) -> int:
        layout, storage = self.log.layout, self.log.storage
        delete(storage, (file.uri for file in spilled(storage, layout, self.corpus)))
        runs = run_folders(layout, self.corpus, storage)
        return sum(self.traces.scrub(layout, self.corpus, run, storage) for run in runs)

    def _sweep(self, tables: list[Table], erased: dict[str, ErasedTable]) -> list[Sweep]:
        """Every version but the new one goes, and every file that no receipt needs, whatever its age."""
        layout, storage = self.log.layout, self.log.storage
        needed = needed_files(layout, self.corpus, storage, run_folders(layout, self.corpus, storage))
        done = []
        for table in tables:
            self.lease.check()
            done.append(sweep(table, erased[table.uri].version, frozenset(), needed, _EVER))
            done[-1].run(table)
        return done

    def _publish(self, base: Catalog, pinned: dict[str, int], erased: dict[str, ErasedTable]) -> int | None:
        """The one step that readers see; none when a run that was cut short has made it."""
        if all(erased[uri].version == version for uri, version in pinned.items()):
            return None
        layout, entry = self.log.layout, base.corpora[self.corpus]
        segments, assets = layout.tables(self.corpus, entry.live)
        self.lease.check()
        tables = {uri: table.version for uri, table in erased.items()}
        change = Erased(
            corpus=self.corpus,
            spaces=layout.versions(self.corpus, entry, tables),
            prepared=layout.prepared_versions(self.corpus, entry, tables),
            assets=erased[assets].rows,
            segments=erased[segments].rows,
            at=datetime.now(UTC),
        )
        return self.log.append(base, change).number

    def _move_tags(self, tables: list[Table], erased: dict[str, ErasedTable]) -> None:
        """No tag may hold an old version: the live one moves, any other goes."""
        for table in tables:
            version = erased[table.uri].version
            tags = table.open().tags
            for name, tag in tags.list().items():
                if name == LIVE_TAG:
                    table.tag_live(version)
                elif tag["version"] != version:
                    tags.delete(name)

    def prove(self) -> None:
        """Read all that is left of the corpus and look for the assets.

        Raises:
            LakeError: one is there.
        """
        layout, storage = self.log.layout, self.log.storage
        runs = run_folders(layout, self.corpus, storage)
        for run in runs:
            if self.traces.found_in(layout, self.corpus, run, storage):
                raise LakeError(
                    f"run {run.run_id} of {layout.corpus(self.corpus)} still names a forgotten asset"
                )
        needed = needed_files(layout, self.corpus, storage, runs)
        for uri in table_uris(layout, self.corpus, storage):
            table = Table(uri, storage)
            head = table.open()
            check_erased(table, head, self.traces)
            if left := sweep(table, int(head.version), frozenset(), needed, _EVER).files:
                raise LakeError(
                    f"{left[0].uri} belongs to no version: another writer is at work; run it again"
                )
            for name in needed & {file.uri.rsplit("/", 1)[-1] for file in find(storage, uri)}:
                if self.traces.in_staged(table, name):
                    raise LakeError(f"staged file {name} of {uri} still holds a forgotten asset")


def _write_unfinished(layout: Layout, corpus: str, storage: Storage, uris: list[str]) -> None:
    out = io.BytesIO()
    pl.DataFrame({"uri": pl.Series(uris, dtype=pl.String)}).write_parquet(out)
    storage.put(layout.erasure(corpus), out.getvalue())
