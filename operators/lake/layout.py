"""Where everything of a lake lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from operators.storage import join
from schemas.corpus import Corpus, Versions
from schemas.groups import GroupKind
from schemas.recipe import Recipe


def prepared_name(recipe: Recipe) -> str:
    """What the prepared media of a recipe are called."""
    return recipe.digest[:16]


@dataclass(frozen=True, slots=True)
class Layout:
    """URIs inside one lake."""

    lake: str
    NO_TABLES: ClassVar = frozenset({"runs", "lease", "forgotten"})
    """Folders of a corpus that hold no Lance table."""

    @property
    def catalog(self) -> str:
        """The folder of the catalog's log."""
        return join(self.lake, "catalog")

    def corpus(self, corpus: str) -> str:
        """The folder of a corpus."""
        return join(self.lake, corpus)

    def assets(self, corpus: str, space: str) -> str:
        """The Lance table of what became of each asset in one space."""
        return join(self.lake, corpus, "assets", f"{space}.lance")

    def space(self, corpus: str, space: str) -> str:
        """The Lance table of one embedding space."""
        return join(self.lake, corpus, "spaces", f"{space}.lance")

    def of_spaces(self, corpus: str) -> tuple[str, str]:
        """The folders of the tables that spaces have."""
        return join(self.lake, corpus, "spaces"), join(self.lake, corpus, "assets")

    def of_prepared(self, corpus: str) -> str:
        """The folder of the tables of prepared media."""
        return join(self.lake, corpus, "prepared")

    def tables(self, corpus: str, space: str) -> tuple[str, str]:
        """The two tables of a space: its segments, and its assets."""
        return self.space(corpus, space), self.assets(corpus, space)

    def prepared(self, corpus: str, name: str) -> str:
        """The Lance table of what was decoded by a recipe; `name` as `prepared_name` makes it."""
        return join(self.of_prepared(corpus), f"{name}.lance")

    def of_groups(self, corpus: str) -> str:
        """The folder of the tables of groups."""
        return join(self.lake, corpus, "groups")

    def groups(self, corpus: str, space: str, kind: GroupKind) -> str:
        """The Lance table of one kind of groups of a space."""
        return join(self.of_groups(corpus), f"{space}-{kind}.lance")

    def pinned(self, corpus: str, entry: Corpus) -> dict[str, int]:
        """Each table of a corpus that the catalog knows, with the version that readers see."""
        found = {}
        for space, state in entry.spaces.items():
            found[self.assets(corpus, space)] = state.assets_version
            found[self.space(corpus, space)] = state.version
            for kind, version in state.groups.items():
                found[self.groups(corpus, space, kind)] = version
        for name, version in entry.prepared.items():
            found[self.prepared(corpus, name)] = version
        return found

    def prepared_versions(self, corpus: str, entry: Corpus, tables: dict[str, int]) -> dict[str, int]:
        """The version of each of the prepared media, when each table has these."""
        return {name: tables[self.prepared(corpus, name)] for name in entry.prepared}

    def versions(self, corpus: str, entry: Corpus, tables: dict[str, int]) -> dict[str, Versions]:
        """The versions of each space, when each table has these."""
        return {
            space: Versions(
                version=tables[self.space(corpus, space)],
                assets_version=tables[self.assets(corpus, space)],
                groups={kind: tables[self.groups(corpus, space, kind)] for kind in state.groups},
            )
            for space, state in entry.spaces.items()
        }

    def runs(self, corpus: str) -> str:
        """The folder that holds a folder for each run."""
        return join(self.lake, corpus, "runs")

    def report(self, corpus: str, run_id: str) -> str:
        """A finished run's report."""
        return join(self.runs(corpus), run_id, "report.json")

    def log(self, corpus: str, run_id: str) -> str:
        """The log of a run's latest attempt."""
        return join(self.runs(corpus), run_id, "run.log")

    def receipts(self, corpus: str, run_id: str) -> str:
        """The folder of a run's receipts."""
        return join(self.runs(corpus), run_id, "receipts")

    def lease(self, corpus: str) -> str:
        """The folder of a corpus' lease."""
        return join(self.lake, corpus, "lease")

    def quarantined(self, corpus: str, run_id: str) -> str:
        """What a run that refused to publish would have quarantined."""
        return join(self.runs(corpus), run_id, "quarantined.parquet")

    def tombstones(self, corpus: str) -> str:
        """Salted hashes of the URIs that are not to come back."""
        return join(self.lake, corpus, "forgotten", "tombstones.parquet")

    def erasure(self, corpus: str) -> str:
        """What an erasure that is not finished is to erase; it goes with its last step."""
        return join(self.lake, corpus, "forgotten", "unfinished.parquet")
