"""Collect what nobody needs any more: old versions, what dead runs left, receipts of runs that have ended.

Nothing goes that the catalog or a tag pins, that a reader of the last days may hold, or that the receipts of a run
list that can still be continued.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from operators.lake.files import File, delete, find, remove_cut_tables, spilled, table_uris
from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.lake.receipts import Receipts
from operators.lake.runs import RunFolder, run_folders
from operators.lake.sweep import Sweep, sweep
from operators.lake.tables import Table
from operators.storage import Storage, check_lake_uri, explained
from pipelines.lease import Lease, held
from schemas.card import Frozen
from schemas.catalog import Catalog
from schemas.corpus import Corpus
from schemas.errors import ConflictError, LakeError, UsageError

DAYS = 7.0
"""How long a version stays that readers have left."""
_HISTORY = 1000
_EPOCHS = 100
_SKEW = timedelta(days=1)
"""More than the clocks of writers and of storage differ by."""


class CorpusGarbage(Frozen):
    """What of one corpus was collected, or would be."""

    corpus: str
    versions: int
    table_files: int
    receipts: int
    dead_runs: int
    spaces: tuple[str, ...]
    bytes: int


class Garbage(Frozen):
    """What of a lake was collected, or would be in a dry run."""

    lake: str
    dry_run: bool
    days: float
    corpora: tuple[CorpusGarbage, ...]
    catalog_entries: int
    bytes: int


def collect(
    lake: str,
    corpus: str | None = None,
    storage: Storage = Storage(),
    *,
    days: float = DAYS,
    dry_run: bool = False,
    wait_s: float = 0.0,
) -> Garbage:
    """Collect the garbage of a lake, or of one corpus; each corpus is held while it is worked on.

    Args:
        lake: its URI.
        corpus: the only one to look at; all of them and the catalog's own log when None.
        storage: how to reach it.
        days: what readers left longer ago than this, and leftovers older than this, go.
        dry_run: count and delete nothing.
        wait_s: how long to wait for a run that holds a corpus.

    Raises:
        ConflictError: a run holds a corpus; the others were collected.
        LakeError: there is no such lake or corpus, or it cannot be read or written.
        UsageError: `days` is no age.
    """
    cutoff = oldest_kept(days)
    log = CatalogLog(Layout(check_lake_uri(lake)), storage)
    names = _names(log, corpus)
    found, busy = [], []
    with explained(log.layout.lake, LakeError):
        for name in names:
            try:
                with _held(log, name, dry_run, wait_s) as lease:
                    found.append(collect_corpus(log, name, cutoff, lease))
            except ConflictError as error:
                busy.append(error)
        entries = [] if corpus else _old_entries(log, cutoff)
        if not dry_run:
            delete(storage, (file.uri for file in entries))
    if busy:
        raise busy[0]
    return Garbage(
        lake=log.layout.lake,
        dry_run=dry_run,
        days=days,
        corpora=tuple(found),
        catalog_entries=len(entries),
        bytes=sum(one.bytes for one in found) + _size(entries),
    )


def _held(log: CatalogLog, name: str, dry_run: bool, wait_s: float) -> AbstractContextManager[Lease | None]:
    lake = log.layout.lake
    return nullcontext() if dry_run else held(lake, name, log.storage, "garbage collection", wait_s)


def oldest_kept(days: float) -> datetime:
    """The moment so many days ago.

    Raises:
        UsageError: it is negative or not a number.
    """
    try:
        if days >= 0:
            return datetime.now(UTC) - timedelta(days=days)
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
    raise UsageError(f"--days {days:g} is no age: give 0 or more")


def collect_corpus(log: CatalogLog, name: str, cutoff: datetime, lease: Lease | None) -> CorpusGarbage:
    """Collect the garbage of a corpus that this process holds; without a lease nothing is deleted."""
    found = _find(log, name, cutoff)
    if lease is not None:
        storage = log.storage
        lease.check()
        delete(storage, (file.uri for file in found.run_files))
        remove_cut_tables(log.layout, name, storage)
        for table, swept in found.sweeps:
            lease.check()
            swept.run(table)
        delete(storage, (file.uri for file in (*found.space_files, *found.others)))
    loose = (*found.run_files, *found.space_files, *found.others)
    return CorpusGarbage(
        corpus=name,
        versions=sum(len(swept.versions) for _, swept in found.sweeps),
        table_files=sum(len(swept.manifests) + len(swept.files) for _, swept in found.sweeps),
        receipts=found.receipts,
        dead_runs=found.dead_runs,
        spaces=tuple(found.spaces),
        bytes=sum(swept.size for _, swept in found.sweeps) + _size(loose),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What of a corpus can go."""

    run_files: list[File]
    receipts: int
    dead_runs: int
    sweeps: list[tuple[Table, Sweep]]
    spaces: list[str]
    space_files: list[File]
    others: list[File]


def _find(log: CatalogLog, name: str, cutoff: datetime) -> _Found:
    layout, storage = log.layout, log.storage
    history = log.since(cutoff)
    entry = history[0].corpora[name]
    runs = run_folders(layout, name, storage)
    published = {
        state.run_id for e in history if name in e.corpora for state in e.corpora[name].spaces.values()
    }
    ended = [run for run in runs if run.run_id in published or _superseded(run, entry, cutoff)]
    dead = [run for run in ended if not run.reported]
    going = [file for run in ended for file in (run.receipts if run.reported else run.files)]
    ids = {run.run_id for run in ended}
    needed = needed_files(layout, name, storage, [run for run in runs if run.run_id not in ids])
    pinned = layout.pinned(name, entry)
    strange = _strange_tables(layout, name, storage, pinned, needed, cutoff)
    cut = [f for f in spilled(storage, layout, name) if f.modified < cutoff and f not in going]
    sweeps = [
        (table, _sweep(table, layout, name, history, needed, cutoff))
        for table in (Table(uri, storage) for uri in table_uris(layout, name, storage) if uri not in strange)
    ]
    return _Found(
        run_files=going,
        receipts=sum(len(run.receipts) for run in ended),
        dead_runs=len(dead),
        sweeps=sweeps,
        spaces=sorted({_space(uri) for uri in strange if uri.rpartition("/")[0] in layout.of_spaces(name)}),
        space_files=[file for files in strange.values() for file in files],
        others=[*_old_epochs(layout, name, storage), *cut],
    )


def _space(uri: str) -> str:
    return uri.rsplit("/", 1)[-1].removesuffix(".lance")


def needed_files(layout: Layout, name: str, storage: Storage, runs: list[RunFolder]) -> set[str]:
    """Names of the data files that these runs' receipts list."""
    return {
        file
        for run in runs
        for staged in Receipts(layout.receipts(name, run.run_id), storage).staged()
        for file in staged.files
    }


def _superseded(run: RunFolder, entry: Corpus, cutoff: datetime) -> bool:
    """Whether other runs have published since, in every space that is written to.

    A run's id is made from what was published of its space when it began.
    """
    written = [state for name, state in entry.spaces.items() if name == entry.live or state.backfill]
    moments = [state.published_at for state in written if state.published_at is not None]
    return len(moments) == len(written) and run.last < min(min(moments) - _SKEW, cutoff)


def _sweep(
    table: Table, layout: Layout, name: str, history: list[Catalog], needed: set[str], cutoff: datetime
) -> Sweep:
    """A table that the catalog does not pin is kept at its newest version."""
    seen = [layout.pinned(name, e.corpora[name]).get(table.uri) for e in history if name in e.corpora]
    versions = [version for version in seen if version is not None]
    pinned = versions[0] if versions and seen[0] is not None else int(table.open().version)
    return sweep(table, pinned, set(versions), needed, cutoff)


def _strange_tables(
    layout: Layout, name: str, storage: Storage, pinned: dict[str, int], needed: set[str], cutoff: datetime
) -> dict[str, list[File]]:
    """Tables of spaces, of prepared media and of groups that the catalog does not know, nobody has touched lately and
    no receipt needs, with their files.
    """
    folders = (*layout.of_spaces(name), layout.of_prepared(name), layout.of_groups(name))
    found = {}
    for uri in table_uris(layout, name, storage):
        folder = uri.rpartition("/")[0]
        if uri in pinned or folder not in folders:
            continue
        files = find(storage, uri)
        wanted = any(file.uri.rsplit("/", 1)[-1] in needed for file in files)
        if not wanted and all(file.modified < cutoff for file in files):
            found[uri] = files
    return found


def _old_epochs(layout: Layout, name: str, storage: Storage) -> list[File]:
    """The lease's records of owners long gone."""
    files: dict[str, list[File]] = {}
    for file in find(storage, layout.lease(name)):
        epoch = file.uri.rsplit("/", 1)[-1].split(".")[0]
        if epoch:
            files.setdefault(epoch, []).append(file)
    return [file for epoch in sorted(files)[:-_EPOCHS] for file in files[epoch]]


def _old_entries(log: CatalogLog, cutoff: datetime) -> list[File]:
    """Entries of the catalog beyond the kept history that no reader has seen lately."""
    first = min(log.since(cutoff)[-1].number, log.numbers()[-1] - _HISTORY + 1)
    old = {log.uri(number) for number in log.numbers() if number < first}
    return [file for file in find(log.storage, log.layout.catalog) if file.uri in old]


def _names(log: CatalogLog, corpus: str | None) -> list[str]:
    known = sorted(log.read().corpora)
    if not known:
        raise LakeError(f"no lake at {log.layout.lake}")
    if corpus is not None and corpus not in known:
        raise LakeError(f"no corpus '{corpus}' in {log.layout.lake}; it holds: {', '.join(known)}")
    return [corpus] if corpus else known


def _size(files: list[File] | tuple[File, ...]) -> int:
    return sum(file.size for file in files)
