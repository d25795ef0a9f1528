"""The spaces of a corpus: what each holds, which one is live, and moving that alias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from operators.lake.files import find, remove_table
from operators.lake.layout import Layout, prepared_name
from operators.lake.log import CatalogLog
from operators.storage import Storage, explained, join
from pipelines.lease import held
from pipelines.reader import LakeReader
from schemas.card import Frozen
from schemas.catalog import Dropped, Promoted, RolledBack
from schemas.corpus import Corpus, SpaceState, Verdict
from schemas.errors import GateError, LakeError, UsageError
from schemas.groups import GroupKind
from schemas.tables import EMBEDDED, METADATA_DIGEST, QUARANTINED

IDENTITY = ("uri", "size", "etag", METADATA_DIGEST)
"""Columns of `assets` by which an asset is the same, as it is now, in two spaces."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """How much of the live space another one holds: `held` of so many `assets`, as they are in the live one now."""

    assets: int
    held: int

    @property
    def share(self) -> float:
        """From 0 to 1; an empty corpus is covered."""
        return self.held / self.assets if self.assets else 1.0


class SpaceStatus(Frozen):
    """One space of a corpus. `coverage` is the share of the live space's assets that it holds as they are now."""

    space: str
    model: str
    live: bool
    widths: tuple[int, ...]
    vector_type: str
    recipe: str
    version: int
    segments: int
    embedded: int
    quarantined: int
    coverage: float
    building: bool
    verdict: Verdict | None
    published_at: datetime | None
    retired_at: datetime | None


class Alias(Frozen):
    """A promotion or a rollback: where readers are, and were, and the share of those assets that is here, too."""

    lake: str
    corpus: str
    live: str
    before: str
    catalog_entry: int
    coverage: float
    forced: bool = False


class Drop(Frozen):
    """A space that is no more."""

    lake: str
    corpus: str
    space: str
    files: int
    bytes: int


def spaces(reader: LakeReader, corpus: str) -> list[SpaceStatus]:
    """Every space of a corpus, the live one first."""
    entry = reader.catalog.corpora[corpus]
    names = sorted(entry.spaces, key=lambda name: (name != entry.live, name))
    return [space_status(reader, corpus, name) for name in names]


def space_status(reader: LakeReader, corpus: str, space: str) -> SpaceStatus:
    """One space in numbers."""
    entry = reader.catalog.corpora[corpus]
    state, made = entry.spaces[space], reader.space(corpus, space)
    status = pl.DataFrame(pl.from_arrow(reader.assets(corpus, space).to_table(columns=["status"])))["status"]
    return SpaceStatus(
        space=space,
        model=made.card.model_id,
        live=space == entry.live,
        widths=made.widths,
        vector_type=made.vector_type,
        recipe=made.recipe.digest[:12],
        version=state.version,
        segments=reader.segments(corpus, space).count_rows(),
        embedded=int((status == EMBEDDED).sum()),
        quarantined=int((status == QUARANTINED).sum()),
        coverage=coverage(reader, corpus, space).share,
        building=state.backfill is not None and space != entry.live,
        verdict=state.verdict,
        published_at=state.published_at,
        retired_at=state.retired_at,
    )


def coverage(reader: LakeReader, corpus: str, space: str) -> Coverage:
    """How much of the live space's assets a space holds, embedded or quarantined, as they are now.

    What the live space could not embed is no loss, whatever the other one says of it.
    """
    if space == reader.catalog.corpora[corpus].live:
        held = reader.assets(corpus).count_rows(f"status = '{EMBEDDED}'")
        return Coverage(held, held)
    columns = [*IDENTITY, "status"]
    live = pl.DataFrame(pl.from_arrow(reader.assets(corpus).to_table(columns=columns)))
    wanted = live.filter(pl.col("status") == EMBEDDED)
    other = pl.DataFrame(pl.from_arrow(reader.assets(corpus, space).to_table(columns=columns)))
    held_too = wanted.join(other, on=IDENTITY, how="semi", nulls_equal=True)
    return Coverage(wanted.height, held_too.height)


def find_space(reader: LakeReader, corpus: str, name: str) -> str:
    """A space by its name, or by a beginning that no other has.

    Raises:
        LakeError: there is none, or there are several.
    """
    known = reader.catalog.corpora[corpus].spaces
    found = [name] if name in known else [space for space in known if space.startswith(name)]
    if len(found) != 1:
        why = "several spaces begin with" if found else "no space"
        raise LakeError(f"{why} '{name}' in corpus '{corpus}'; it has: {', '.join(sorted(known))}")
    return found[0]


def promote(
    lake: str, corpus: str, space: str, storage: Storage = Storage(), *, force: bool = False
) -> Alias:
    """Make a space the live one, in one step that every reader sees whole. The other space stays as it is.

    Args:
        lake: its URI.
        corpus: in which.
        space: its name.
        storage: how to reach the lake.
        force: do not ask the gate.

    Raises:
        GateError: the space was not compared with the live one as it is now, or the comparison refused it.
        UsageError: it is the live one.
        ConflictError: the alias moved meanwhile.
    """
    reader = LakeReader.open(lake, storage)
    entry = reader.catalog.corpora[corpus]
    if entry.live == space:
        raise UsageError(f"space {space} is the live one of corpus '{corpus}' already")
    if not force:
        _ask_gate(entry, entry.spaces[space], space)
    share = coverage(reader, corpus, space).share
    change = Promoted(corpus=corpus, space=space, at=datetime.now(UTC), forced=force)
    number = CatalogLog(reader.layout, storage).append(reader.catalog, change).number
    return Alias(
        lake=reader.layout.lake,
        corpus=corpus,
        live=space,
        before=entry.live,
        catalog_entry=number,
        coverage=share,
        forced=force,
    )


def _ask_gate(entry: Corpus, state: SpaceState, space: str) -> None:
    verdict = state.verdict
    compare = f"`embedlake compare {entry.live} {space}`"
    if verdict is None or verdict.against != entry.live:
        raise GateError(
            f"space {space} was never compared with the live one: run {compare}, or promote with --force"
        )
    compared = {space: verdict.revision, entry.live: verdict.against_revision}
    for name, revision in compared.items():
        if entry.spaces[name].revision != revision:
            raise GateError(
                f"space {name} has other rows than when it was compared: run {compare} again, or give --force"
            )
    if verdict.failures:
        raise GateError(
            f"space {space} did not pass the gate: {'; '.join(verdict.failures)}: promote with --force"
        )


def rollback(lake: str, corpus: str, storage: Storage = Storage()) -> Alias:
    """Make the space that was live before the live one again.

    Raises:
        UsageError: none was, or it was dropped.
        ConflictError: the alias moved meanwhile.
    """
    reader = LakeReader.open(lake, storage)
    entry = reader.catalog.corpora[corpus]
    if not entry.former:
        raise UsageError(f"no space was live before {entry.live} in corpus '{corpus}'")
    share = coverage(reader, corpus, entry.former[-1]).share
    change = RolledBack(corpus=corpus, space=entry.former[-1], at=datetime.now(UTC))
    number = CatalogLog(reader.layout, storage).append(reader.catalog, change).number
    return Alias(
        lake=reader.layout.lake,
        corpus=corpus,
        live=change.space,
        before=entry.live,
        catalog_entry=number,
        coverage=share,
    )


def drop(lake: str, corpus: str, space: str, storage: Storage = Storage(), *, wait_s: float = 0.0) -> Drop:
    """Remove a space from the catalog, and then every file of its tables, and of media prepared for it alone.

    Killed between both, the same call finishes.

    Raises:
        UsageError: it is the live one.
        LakeError: there is no such space, or something of it is left.
        ConflictError: another writer holds the corpus.
    """
    layout = LakeReader.open(lake, storage).layout
    with explained(layout.lake, LakeError), held(layout.lake, corpus, storage, "a drop", wait_s) as lease:
        reader = LakeReader.open(lake, storage)
        unused: tuple[str, ...] = ()
        entry = reader.catalog.corpora[corpus]
        groups = (layout.groups(corpus, space, kind) for kind in GroupKind)
        tables = [*layout.tables(corpus, space), *groups]
        if space == entry.live:
            raise UsageError(f"space {space} is the live one of corpus '{corpus}': promote another one first")
        if space not in entry.spaces and not any(find(storage, uri) for uri in tables):
            raise LakeError(f"no space '{space}' in corpus '{corpus}'; it has: {_names(entry.spaces)}")
        if space in entry.spaces:
            unused = _prepared_for(reader, corpus, space)
            change = Dropped(corpus=corpus, space=space, prepared=unused, at=datetime.now(UTC))
            CatalogLog(layout, storage).append(reader.catalog, change)
        kept = {layout.prepared(corpus, name) for name in entry.prepared if name not in unused}
        tables += [uri for uri in _prepared_tables(layout, corpus, storage) if uri not in kept]
        lease.check()
        gone = [file for uri in tables for file in remove_table(storage, uri)]
        if left := [file for uri in tables for file in find(storage, uri)]:
            raise LakeError(f"{left[0].uri} is still there: another writer is at work; run it again")
    return Drop(
        lake=layout.lake, corpus=corpus, space=space, files=len(gone), bytes=sum(file.size for file in gone)
    )


def _prepared_for(reader: LakeReader, corpus: str, space: str) -> tuple[str, ...]:
    """The prepared media that no space but this one could read."""
    entry = reader.catalog.corpora[corpus]
    others = {prepared_name(reader.space(corpus, name).recipe) for name in entry.spaces if name != space}
    return tuple(sorted(set(entry.prepared) - others))


def _prepared_tables(layout: Layout, corpus: str, storage: Storage) -> list[str]:
    folder = layout.of_prepared(corpus)
    return [join(folder, name) for name in storage.names(folder)]


def _names(spaces: Sequence[str] | dict[str, SpaceState]) -> str:
    return ", ".join(sorted(spaces))
