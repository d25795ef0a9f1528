"""The catalog: which corpora and spaces a lake holds, and which table versions readers see.

It is an append-only log of typed changes. Entry N is created with put-if-absent, so exactly one writer makes it;
it carries the change and the state after it, so a reader lists once and reads one small object.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from schemas.card import Frozen
from schemas.corpus import Backfill, Corpus, Finder, SpaceState, Verdict, Versions
from schemas.errors import LakeError
from schemas.groups import GroupKind


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
