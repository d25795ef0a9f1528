"""Keep a corpus quick to read: fewer and larger fragments, full indices, no old versions. The rows stay the same."""

from __future__ import annotations

from datetime import UTC, datetime

from operators.lake.compaction import compact
from operators.lake.indices import indexed_columns
from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.storage import Storage, explained
from pipelines.forget import Erasure, erase_held, unfinished
from pipelines.gc import DAYS, CorpusGarbage, collect_corpus, oldest_kept
from pipelines.index import LEAST_ROWS, LEAST_TRAINED, IndexJob
from pipelines.lease import Lease, held
from pipelines.reader import LakeReader
from schemas.card import Frozen
from schemas.catalog import Catalog, Maintained
from schemas.errors import LakeError

_OUTGROWN = 2.0
"""So many times as many rows, or as few, want another index over vectors."""


class MaintainedTable(Frozen):
    """One table before and after."""

    table: str
    version: int
    fragments_before: int
    fragments: int


class Maintenance(Frozen):
    """What maintenance did to a corpus. `catalog_entry` is None when no table had anything to gain.

    `erasure` is one that was cut short before and is finished now.
    """

    lake: str
    corpus: str
    tables: tuple[MaintainedTable, ...]
    catalog_entry: int | None
    collected: CorpusGarbage
    erasure: Erasure | None = None


def maintain(
    lake: str,
    corpus: str | None = None,
    storage: Storage = Storage(),
    *,
    days: float = DAYS,
    wait_s: float = 0.0,
) -> Maintenance:
    """Compact a corpus' tables, bring their indices up to date, publish both at once, and collect its garbage.

    The corpus is held meanwhile, so no run loses its base. A run that died before finds its receipts after it.
    An erasure that was cut short is finished first.

    Args:
        lake: its URI.
        corpus: which, when there are several.
        storage: how to reach it.
        days: as in `pipelines.gc.collect`.
        wait_s: how long to wait for a run that holds the corpus.

    Raises:
        ConflictError: a run holds the corpus, or took it over.
        LakeError: there is no such corpus, or it cannot be read or written.
        UsageError: `days` is no age.
    """
    cutoff = oldest_kept(days)
    reader = LakeReader.open(lake, storage)
    name, _ = reader.corpus(corpus)
    log = CatalogLog(reader.layout, storage)
    with (
        explained(reader.layout.lake, LakeError),
        held(reader.layout.lake, name, storage, "maintenance", wait_s) as lease,
    ):
        erasure = erase_held(log, name, [], lease) if unfinished(log.layout, name, storage) else None
        base = log.read()
        tables = [
            _maintain(uri, version, storage)
            for uri, version in log.layout.pinned(name, base.corpora[name]).items()
        ]
        entry = _publish(log, base, name, {table.table: table.version for table in tables}, lease)
        _reindex(log, name, lease)
        collected = collect_corpus(log, name, cutoff, lease)
    return Maintenance(
        lake=log.layout.lake,
        corpus=name,
        tables=tuple(tables),
        catalog_entry=entry,
        collected=collected,
        erasure=erasure,
    )


def _maintain(uri: str, base: int, storage: Storage) -> MaintainedTable:
    table = Table(uri, storage)
    before = len(table.open(base).get_fragments())
    version = compact(table, base)
    after = len(table.open(version).get_fragments())
    return MaintainedTable(table=uri, version=version, fragments_before=before, fragments=after)


def _reindex(log: CatalogLog, name: str, lease: Lease) -> None:
    """Index and measure anew what has other sizes by now, and what has become large enough for it."""
    for space, state in log.read().corpora[name].spaces.items():
        table = Table(log.layout.space(name, space), log.storage).open(state.version)
        rows, finder = table.count_rows(), state.finder
        if finder is None:
            due, kind, width = rows >= LEAST_ROWS and bool(indexed_columns(table)), None, None
        else:
            due = not finder.rows / _OUTGROWN < rows < finder.rows * _OUTGROWN
            kind, width = (finder.kind, finder.width) if rows >= LEAST_TRAINED else (None, None)
        if due:
            job = IndexJob(
                lake=log.layout.lake, corpus=name, space=space, kind=kind, width=width, storage=log.storage
            )
            job.build_held(log, lease)


def _publish(log: CatalogLog, base: Catalog, name: str, versions: dict[str, int], lease: Lease) -> int | None:
    entry = base.corpora[name]
    spaces = log.layout.versions(name, entry, versions)
    prepared = log.layout.prepared_versions(name, entry, versions)
    if (spaces, prepared) == (entry.versions, entry.prepared):
        return None
    lease.check()
    change = Maintained(corpus=name, spaces=spaces, prepared=prepared, at=datetime.now(UTC))
    number = log.append(base, change).number
    for space, state in entry.spaces.items():
        if state.run_id is not None:
            Table(log.layout.space(name, space), log.storage).tag_live(spaces[space].version)
    return number
