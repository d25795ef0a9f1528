"""The catalog: which corpora and spaces a lake holds, and which table versions readers see.

It is an append-only log of typed changes. Entry N is created with put-if-absent, so exactly one writer makes it;
it carries the change and the state after it, so a reader lists once and reads one small object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from schemas.card import Frozen
from schemas.errors import LakeError, UsageError
from schemas.groups import GroupKind
from schemas.space import IndexKind

_CORPUS_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_TAKEN = frozenset({"assets", "runs", "quarantine", "catalog"})


def check_corpus_name(name: str) -> str:
    """A name that is a folder, a bucket prefix and an SQL view.

    Raises:
        UsageError: the name cannot be all of them.
    """
    if not _CORPUS_NAME.fullmatch(name) or name in _TAKEN or "__" in name:
        raise UsageError(
            f"corpus name '{name}' is not allowed: use a-z, 0-9 and single _, starting with a letter, "
            f"and none of {', '.join(sorted(_TAKEN))}"
        )
    return name


class Backfill(Frozen):
    """How a space beside the live one is made, and kept up with it: until it is promoted or dropped.

    `model` is as a person named it; `where` and `priority` are SQL over the live assets.
    """

    model: str
    allow: tuple[str, ...] = ()
    where: str | None = None
    priority: str | None = None


class Verdict(Frozen):
    """What the last comparison of a space came to. It passed the gate when there are no `failures`."""

    against: str
    revision: int = Field(description="of the space when it was compared")
    against_revision: int = Field(description="of the live space then")
    failures: tuple[str, ...]
    at: datetime


class Finder(Frozen):
    """How a space's nearest rows are found: in an index over one width, and then ranked by the full one.

    `probes` of the index' `partitions` are read, and for each hit `candidates` rows come out of it. `recall` is what
    of the true nearest `k` came out, measured with `queries` of the space's own rows when it had `rows`.
    """

    width: int
    kind: IndexKind
    partitions: int
    probes: int
    candidates: int
    k: int
    queries: int
    rows: int
    recall: float


class Versions(Frozen):
    """The versions that readers see of a space's tables: its segments, what became of each asset in it, its groups."""

    version: int
    assets_version: int
    groups: dict[GroupKind, int] = Field(default_factory=dict)


class SpaceState(Versions):
    """One space of a corpus.

    `run_id` and `published_at` are None until a first run has published. `revision` is the catalog entry of the last
    run's change: what a run's plan is based on. Maintenance and erasure move versions and leave it, so that a run
    that died before them still finds its receipts. `retired_at` is when the space ceased to be the live one. Without a
    `finder` every row is compared with a query.
    """

    revision: int = 0
    run_id: str | None = None
    published_at: datetime | None = None
    backfill: Backfill | None = None
    verdict: Verdict | None = None
    retired_at: datetime | None = None
    finder: Finder | None = None

    @property
    def base(self) -> tuple[int, int, int]:
        """What a run is based on: if it has moved, another run was first."""
        return self.version, self.assets_version, self.revision


class Corpus(Frozen):
    """What readers of one corpus see: the live space, the others, and which were live before, the last one last.

    `prepared` are the tables of prepared media, by the beginning of their recipe's digest, with their versions.
    """

    live: str
    spaces: dict[str, SpaceState]
    former: tuple[str, ...] = ()
    prepared: dict[str, int] = Field(default_factory=dict)

    @property
    def now(self) -> SpaceState:
        """The live space."""
        return self.spaces[self.live]

    @property
    def assets_version(self) -> int:
        """Of the live space's assets."""
        return self.now.assets_version

    @property
    def run_id(self) -> str | None:
        """The run that published the live space last."""
        return self.now.run_id

    @property
    def published_at(self) -> datetime | None:
        """When the live space was published last."""
        return self.now.published_at

    @property
    def versions(self) -> dict[str, Versions]:
        """Of every space."""
        return {
            name: Versions(version=state.version, assets_version=state.assets_version, groups=state.groups)
            for name, state in self.spaces.items()
        }

    def with_spaces(self, spaces: Mapping[str, SpaceState]) -> Corpus:
        """The corpus with other states of some spaces."""
        return self.model_copy(update={"spaces": {**self.spaces, **spaces}})

    def with_prepared(self, prepared: Mapping[str, int]) -> Corpus:
        """The corpus with other versions of some prepared media."""
        return self.model_copy(update={"prepared": {**self.prepared, **prepared}})


class _OfSpace(Frozen):
    """A change that a run makes for one space."""

    corpus: str
    space: str
    space_version: int
    assets_version: int
    prepared: dict[str, int] = Field(default_factory=dict)
    at: datetime

    def basis(self, corpus: Corpus | None) -> object:
        """What the change was made for; if that has moved, another writer was first."""
        state = corpus.spaces.get(self.space) if corpus else None
        return corpus is None, state and state.base, corpus and corpus.prepared

    def _state(self, old: Corpus | None) -> SpaceState:
        known = old.spaces.get(self.space) if old else None
        state = known or SpaceState(version=0, assets_version=0)
        versions = {"version": self.space_version, "assets_version": self.assets_version}
        return state.model_copy(update=versions)

    def _corpus(self, old: Corpus | None, state: SpaceState) -> Corpus:
        if old is None:
            return Corpus(live=self.space, spaces={self.space: state}, prepared=self.prepared)
        return old.with_spaces({self.space: state}).with_prepared(self.prepared)


class Opened(_OfSpace):
    """A space's tables were created, or got further columns, before a run stages into them.

    The first space of a corpus is its live one; a further one has a `backfill`.
    """

    kind: Literal["opened"] = "opened"
    backfill: Backfill | None = None

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        known = old.spaces.get(self.space) if old else None
        state = self._state(old)
        same = known is not None and known.base[:2] == state.base[:2]
        update = {
            "revision": state.revision if same else number,
            "backfill": self.backfill or state.backfill,
        }
        return self._corpus(old, state.model_copy(update=update))


class Published(_OfSpace):
    """A run made one version of a space visible."""

    kind: Literal["published"] = "published"
    run_id: str

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        update = {"revision": number, "run_id": self.run_id, "published_at": self.at}
        return self._corpus(old, self._state(old).model_copy(update=update))


class Resized(_OfSpace):
    """Width columns of a space were dropped, or added from the full one; `widths` are those that it has now.

    A run that died before staged rows of other columns, so it starts anew.
    """

    kind: Literal["resized"] = "resized"
    widths: tuple[int, ...]

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        state = self._state(old)
        finder = state.finder if state.finder and state.finder.width in self.widths else None
        return self._corpus(old, state.model_copy(update={"revision": number, "finder": finder}))


class _OfTables(Frozen):
    """A change of the tables of every space."""

    corpus: str
    spaces: dict[str, Versions]
    prepared: dict[str, int] = Field(default_factory=dict)
    at: datetime

    def basis(self, corpus: Corpus | None) -> object:
        """What the change was made for; if that has moved, another writer was first."""
        bases = corpus and {name: (state.base, state.groups) for name, state in corpus.spaces.items()}
        return corpus and (bases, corpus.prepared)

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        known = _there(old, self.corpus)
        return known.with_spaces(
            {n: known.spaces[n].model_copy(update=v.model_dump()) for n, v in self.spaces.items()}
        ).with_prepared(self.prepared)


class Maintained(_OfTables):
    """A corpus' tables were compacted or their indices brought up to date; the rows are the same."""

    kind: Literal["maintained"] = "maintained"


class Erased(_OfTables):
    """Assets were forgotten: no table holds them any more. What they were is not written down here."""

    kind: Literal["erased"] = "erased"
    assets: int
    segments: int


class Grouped(Frozen):
    """Segments of a space were grouped; the table takes the place of an earlier one of its kind."""

    kind: Literal["grouped"] = "grouped"
    corpus: str
    space: str
    group: GroupKind
    version: int
    at: datetime

    def basis(self, corpus: Corpus | None) -> object:
        """What the change was made for; if that has moved, another writer was first."""
        state = corpus.spaces.get(self.space) if corpus else None
        return state and (state.base, state.groups)

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        known = _there(old, self.corpus)
        if (state := known.spaces.get(self.space)) is None:
            raise LakeError(f"corpus '{self.corpus}' has no space '{self.space}'")
        groups = {**state.groups, self.group: self.version}
        return known.with_spaces({self.space: state.model_copy(update={"groups": groups})})


class _OfAlias(Frozen):
    """A change of which space is which."""

    corpus: str
    space: str
    at: datetime

    def basis(self, corpus: Corpus | None) -> object:
        """What the change was made for; if that has moved, another writer was first."""
        return corpus and (corpus.live, corpus.former, self.space in corpus.spaces)

    def _known(self, old: Corpus | None) -> Corpus:
        known = _there(old, self.corpus)
        if self.space not in known.spaces:
            raise LakeError(f"corpus '{self.corpus}' has no space '{self.space}'")
        return known

    def _moved(self, old: Corpus, former: tuple[str, ...]) -> Corpus:
        live = old.spaces[self.space].model_copy(update={"backfill": None, "retired_at": None})
        retired = old.now.model_copy(update={"retired_at": self.at})
        spaces = {**old.spaces, old.live: retired, self.space: live}
        return old.model_copy(update={"live": self.space, "spaces": spaces, "former": former})


class Promoted(_OfAlias):
    """Readers moved to another space. The one that they left stays as it was."""

    kind: Literal["promoted"] = "promoted"
    forced: bool = False

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        known = self._known(old)
        return self._moved(known, (*(name for name in known.former if name != self.space), known.live))


class RolledBack(_OfAlias):
    """Readers moved back to the space that was live before."""

    kind: Literal["rolled_back"] = "rolled_back"

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        known = self._known(old)
        return self._moved(known, tuple(name for name in known.former if name != self.space))


class Dropped(_OfAlias):
    """A space is no more; its files go after this entry, and prepared media that no other space's recipe has."""

    kind: Literal["dropped"] = "dropped"
    prepared: tuple[str, ...] = ()

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        known = self._known(old)
        if known.live == self.space:
            raise LakeError(f"space '{self.space}' is the live one of corpus '{self.corpus}'")
        spaces = {name: state for name, state in known.spaces.items() if name != self.space}
        former = tuple(name for name in known.former if name != self.space)
        prepared = {name: version for name, version in known.prepared.items() if name not in self.prepared}
        return Corpus(live=known.live, spaces=spaces, former=former, prepared=prepared)


class Compared(_OfAlias):
    """A space was compared with another, and the gate has spoken."""

    kind: Literal["compared"] = "compared"
    verdict: Verdict

    def basis(self, corpus: Corpus | None) -> object:
        """What the change was made for; if that has moved, another writer was first."""
        return corpus and self.space in corpus.spaces

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        known = self._known(old)
        state = known.spaces[self.space].model_copy(update={"verdict": self.verdict})
        return known.with_spaces({self.space: state})


class Indexed(_OfAlias):
    """A space's indices were built anew, or dropped; the rows are the same."""

    kind: Literal["indexed"] = "indexed"
    space_version: int
    finder: Finder | None

    def basis(self, corpus: Corpus | None) -> object:
        """What the change was made for; if that has moved, another writer was first."""
        state = corpus.spaces.get(self.space) if corpus else None
        return state and state.base

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        known = self._known(old)
        update = {"version": self.space_version, "finder": self.finder}
        return known.with_spaces({self.space: known.spaces[self.space].model_copy(update=update)})


def _there(old: Corpus | None, name: str) -> Corpus:
    if old is None:
        raise LakeError(f"the catalog has no corpus '{name}' to change")
    return old


Change = Annotated[
    Opened
    | Published
    | Resized
    | Maintained
    | Erased
    | Grouped
    | Promoted
    | RolledBack
    | Dropped
    | Compared
    | Indexed,
    Field(discriminator="kind"),
]
"""The closed union of what can happen to a lake; each knows the corpus after it."""


class Catalog(Frozen):
    """One entry of the log: its number, the change that made it, and the state after it."""

    format: Literal[1] = 1
    number: int = 0
    change: Change | None = None
    corpora: dict[str, Corpus] = Field(default_factory=dict)

    def apply(self, change: Change) -> Catalog:
        """The next entry; this one is not changed.

        Raises:
            LakeError: the change is of a corpus that is not there.
        """
        number = self.number + 1
        corpus = change.apply(self.corpora.get(change.corpus), number)
        return Catalog(number=number, change=change, corpora={**self.corpora, change.corpus: corpus})
