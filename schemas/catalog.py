"""The catalog: which corpora and spaces a lake holds, and which table versions readers see.

It is an append-only log of typed changes. Entry N is created with put-if-absent, so exactly one writer makes it;
it carries the change and the state after it, so a reader lists once and reads one small object.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field

from schemas.card import Frozen
from schemas.errors import LakeError, UsageError

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


class Corpus(Frozen):
    """What readers of one corpus see: the live space and the pinned versions of its tables.

    `run_id` and `published_at` are None until a first run has published. `revision` is the catalog entry of the last
    run's change: what a run's plan is based on. Maintenance and erasure move versions and leave it, so that a run
    that died before them still finds its receipts.
    """

    live: str
    spaces: dict[str, int] = Field(description="space id -> version of its Lance table")
    assets_version: int
    revision: int = 0
    run_id: str | None = None
    published_at: datetime | None = None


class Opened(Frozen):
    """A corpus' tables were created, or got further columns, before a run stages into them."""

    kind: Literal["opened"] = "opened"
    corpus: str
    space: str
    space_version: int
    assets_version: int
    at: datetime

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        return _opened(self, old, number)


class Published(Frozen):
    """A run made one version of a corpus' tables visible."""

    kind: Literal["published"] = "published"
    corpus: str
    space: str
    space_version: int
    assets_version: int
    run_id: str
    at: datetime

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        opened = _opened(self, old, number)
        return opened.model_copy(update={"run_id": self.run_id, "published_at": self.at})


class Maintained(Frozen):
    """A corpus' tables were compacted or their indices brought up to date; the rows are the same."""

    kind: Literal["maintained"] = "maintained"
    corpus: str
    spaces: dict[str, int]
    assets_version: int
    at: datetime

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        return _moved(self, old)


class Erased(Frozen):
    """Assets were forgotten: no table holds them any more. What they were is not written down here."""

    kind: Literal["erased"] = "erased"
    corpus: str
    spaces: dict[str, int]
    assets_version: int
    assets: int
    segments: int
    at: datetime

    def apply(self, old: Corpus | None, number: int) -> Corpus:
        """The corpus after entry `number`."""
        return _moved(self, old)


def _opened(change: Opened | Published, old: Corpus | None, number: int) -> Corpus:
    return Corpus(
        live=change.space,
        spaces={**(old.spaces if old else {}), change.space: change.space_version},
        assets_version=change.assets_version,
        revision=number,
        run_id=old.run_id if old else None,
        published_at=old.published_at if old else None,
    )


def _moved(change: Maintained | Erased, old: Corpus | None) -> Corpus:
    if old is None:
        raise LakeError(f"the catalog has no corpus '{change.corpus}' to change")
    spaces = {**old.spaces, **change.spaces}
    return old.model_copy(update={"spaces": spaces, "assets_version": change.assets_version})


Change = Annotated[Opened | Published | Maintained | Erased, Field(discriminator="kind")]
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
