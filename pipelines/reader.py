"""Read a lake: its catalog once, then every table at the version that the catalog pins."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import lance
import pyarrow as pa
from pydantic import ValidationError

from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.storage import Storage, check_lake_uri, explained, join
from schemas.catalog import Catalog
from schemas.corpus import Corpus
from schemas.errors import LakeError
from schemas.groups import GroupKind
from schemas.report import RunReport
from schemas.space import Space


@dataclass(frozen=True, slots=True)
class LakeReader:
    """A consistent view of a lake: whatever is published later, this one keeps its versions."""

    layout: Layout
    storage: Storage
    catalog: Catalog

    @classmethod
    def open(cls, lake: str, storage: Storage | None = None, entry: int | None = None) -> LakeReader:
        """The lake as it is now, or as it was at an entry of the catalog, as long as maintenance keeps its versions.

        Raises:
            LakeError: nothing was ever written there, it cannot be read, or it has no such entry.
        """
        storage = storage or Storage()
        layout = Layout(check_lake_uri(lake))
        catalog = CatalogLog(layout, storage).read(entry)
        if not catalog.corpora:
            raise LakeError(
                f"no lake at {layout.lake}: `embedlake embed SOURCE --lake {layout.lake}` makes one"
            )
        return cls(layout, storage, catalog)

    def corpus(self, name: str | None) -> tuple[str, Corpus]:
        """A corpus by name, or the only one.

        Raises:
            LakeError: unknown, or none named where there are several.
        """
        known = ", ".join(sorted(self.catalog.corpora))
        if name is None:
            if len(self.catalog.corpora) == 1:
                return next(iter(self.catalog.corpora.items()))
            raise LakeError(f"this lake holds several corpora, say which with --corpus: {known}")
        if name not in self.catalog.corpora:
            raise LakeError(f"no corpus '{name}' in {self.layout.lake}; it holds: {known}")
        return name, self.catalog.corpora[name]

    def segments(self, name: str, space: str | None = None) -> lance.LanceDataset:
        """The published rows of a space, the live one when None."""
        corpus = self.catalog.corpora[name]
        space = space or corpus.live
        return Table(self.layout.space(name, space), self.storage).open(corpus.spaces[space].version)

    def assets(self, name: str, space: str | None = None) -> lance.LanceDataset:
        """The published assets of a corpus, as they are in a space, the live one when None."""
        corpus = self.catalog.corpora[name]
        space = space or corpus.live
        return Table(self.layout.assets(name, space), self.storage).open(corpus.spaces[space].assets_version)

    def groups(self, name: str, kind: GroupKind, space: str | None = None) -> lance.LanceDataset:
        """The published groups of a space, the live one when None; `schemas.groups.of` says how they were made.

        Raises:
            LakeError: none were made.
        """
        corpus = self.catalog.corpora[name]
        space = space or corpus.live
        version = corpus.spaces[space].groups.get(kind)
        if version is None:
            raise LakeError(
                f"space {space} of corpus '{name}' has no {kind}: `embedlake {kind.command}` makes them"
            )
        return Table(self.layout.groups(name, space, kind), self.storage).open(version)

    def space(self, name: str, space: str | None = None) -> Space:
        """What a space of a corpus was made by, the live one when None."""
        return Space.of(self.segments(name, space).schema)

    def runs(self, name: str) -> list[RunReport]:
        """Reports of the corpus' finished runs, oldest first; what is no report of this version is left out.

        Raises:
            LakeError: the folder of the runs cannot be listed.
        """
        folder = self.layout.runs(name)
        with explained(folder, LakeError):
            names = self.storage.names(folder)
        found = []
        for run in names:
            # A damaged report must not hide what is published.
            with suppress(OSError, ValidationError):
                found.append(
                    RunReport.model_validate_json(self.storage.read(join(folder, run, "report.json")))
                )
        return sorted(found, key=lambda report: report.finished_at)

    def runs_table(self) -> pa.Table:
        """All corpora's runs as a table, a column for each count."""
        rows: list[dict[str, Any]] = []
        for name in sorted(self.catalog.corpora):
            for report in self.runs(name):
                plain = report.model_dump(exclude={"counts", "quarantine_reasons", "seconds", "lake", "log"})
                rows.append({**plain, **report.counts.model_dump(), "seconds": sum(report.seconds.values())})
        return pa.Table.from_pylist(rows) if rows else pa.table({"run_id": pa.array([], pa.string())})
