"""Where everything of a lake lies."""

from __future__ import annotations

from dataclasses import dataclass

from operators.storage import join


@dataclass(frozen=True, slots=True)
class Layout:
    """URIs inside one lake."""

    lake: str

    @property
    def catalog(self) -> str:
        """The folder of the catalog's log."""
        return join(self.lake, "catalog")

    def assets(self, corpus: str) -> str:
        """The Lance table of a corpus' assets."""
        return join(self.lake, corpus, "assets.lance")

    def space(self, corpus: str, space: str) -> str:
        """The Lance table of one embedding space."""
        return join(self.lake, corpus, "spaces", f"{space}.lance")

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
