"""Which files of a Lance table nobody needs any more: mark by manifests and receipts, then sweep.

Lance's own clean-up cannot be used here: it takes fragments that are staged but not committed for leftovers once they
are a week old, and a run of the lake may be continued later than that.
"""

from __future__ import annotations

import re
from collections.abc import Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from operators.lake.files import File, delete, find
from operators.lake.tables import Table

_DATA = "data/"
_LOOSE = re.compile(r"data/[^/]+|_(deletions|indices|transactions)/.+|_versions/.+#\d+")
"""What a writer that died may have left. Anything else in a table's folder goes only with a version that lists it."""
_MANIFEST = "manifest"


@dataclass(frozen=True, slots=True)
class Sweep:
    """What can go of one table: whole versions, and files. Manifests come first, so a cut sweep is harmless."""

    versions: list[int]
    manifests: list[File]
    files: list[File]

    @property
    def size(self) -> int:
        """Bytes that are freed."""
        return sum(file.size for file in (*self.manifests, *self.files))

    def run(self, table: Table) -> None:
        """Delete them."""
        delete(table.storage, (file.uri for file in self.manifests))
        delete(table.storage, (file.uri for file in self.files))


def sweep(table: Table, pinned: int, keep: Set[int], needed: Set[str], before: datetime) -> Sweep:
    """What of a table can go.

    Args:
        table: on a corpus that no run writes to.
        pinned: the version that readers see; it and all above it stay.
        keep: further versions to keep. Tagged ones are kept too.
        needed: names of data files that receipts of unfinished runs list.
        before: a version or a file that nothing refers to stays when it is younger.
    """
    dataset = table.open()
    tagged = {tag["version"] for tag in dataset.tags.list().values()}
    versions: list[dict[str, Any]] = dataset.versions()  # type: ignore[assignment]
    old = [
        int(version["version"])
        for version in versions
        if version["version"] < pinned
        and version["version"] not in keep | tagged
        and version["timestamp"].astimezone(UTC) < before
    ]
    tracked = _tracked(table)
    kept = set(tracked.filter(~pl.col("version").is_in(old))["path"])
    dropped = tracked.filter(pl.col("version").is_in(old))
    manifests = set(dropped.filter(pl.col("type") == _MANIFEST)["path"]) - kept
    dead = set(dropped["path"]) - kept
    found = {file.uri[len(table.uri) + 1 :]: file for file in find(table.storage, table.uri)}
    files = [
        file
        for path, file in found.items()
        if path not in kept
        and path not in manifests
        and path.removeprefix(_DATA) not in needed
        and (path in dead or (_LOOSE.fullmatch(path) and file.modified < before))
    ]
    return Sweep(old, [found[path] for path in sorted(manifests) if path in found], files)


def _tracked(table: Table) -> pl.DataFrame:
    """`version`, `path` and `type` of every file that a manifest lists."""
    batches = table.open().tracked_files()
    frames = [pl.DataFrame(pl.from_arrow(batch)).select("version", "path", "type") for batch in batches]
    empty = pl.DataFrame(schema={"version": pl.Int64, "path": pl.String, "type": pl.String})
    return pl.concat([empty, *(f.cast({"path": pl.String, "type": pl.String}) for f in frames)])
