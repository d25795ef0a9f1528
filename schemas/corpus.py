"""What readers of one corpus see: its spaces, which of them is live, and the versions of their tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from pydantic import Field

from schemas.card import Frozen
from schemas.errors import UsageError
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
