"""The folders of a corpus' runs: which run has ended, and which can still be continued."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from operators.lake.files import File, find
from operators.lake.layout import Layout
from operators.storage import Storage

_REPORT = "report.json"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The files of one run."""

    run_id: str
    files: list[File]
    receipts: list[File]

    @property
    def last(self) -> datetime:
        """When the run last wrote here."""
        return max(file.modified for file in self.files)

    @property
    def reported(self) -> bool:
        """Whether it came as far as its report."""
        return any(file.uri.endswith(f"/{self.run_id}/{_REPORT}") for file in self.files)


def run_folders(layout: Layout, corpus: str, storage: Storage) -> list[RunFolder]:
    """Every run's folder that holds something, by run id."""
    root = layout.runs(corpus)
    grouped: dict[str, list[File]] = {}
    for file in find(storage, root):
        run_id, _, rest = file.uri[len(root) + 1 :].partition("/")
        if rest:
            grouped.setdefault(run_id, []).append(file)
    return [
        RunFolder(
            run_id, files, [f for f in files if f.uri.startswith(layout.receipts(corpus, run_id) + "/")]
        )
        for run_id, files in grouped.items()
    ]
