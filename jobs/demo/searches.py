"""The tour's searches: what is asked, and what a person would expect to find."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml

from pipelines.query import Hit
from schemas.card import Frozen, Modality

HOME = Path(__file__).resolve().parents[2] / "infra" / "demo"
"""The demo's files: `corpus/`, `manifests/`, `queries/`."""


class Where(Frozen):
    """A page, or a time range in ms that a hit has to overlap."""

    page: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None


class Expected(Frozen):
    """One answer that would do; `uri` is relative to the demo's folder."""

    uri: str
    locator: Where = Where()

    def matches(self, hit: Hit) -> bool:
        """Whether a hit is this answer."""
        pages = hit.row["page"], hit.row["page_end"]
        page = self.locator.page is None or (None not in pages and pages[0] <= self.locator.page <= pages[1])
        start, end = self.locator.start_ms, self.locator.end_ms
        overlaps = start is None or end is None or (hit.row["start_ms"] < end and start < hit.row["end_ms"])
        return hit.uri.endswith(self.uri) and page and overlaps


class Search(Frozen):
    """One search of the tour: an expected answer has to be among the first `within` hits of `modality`."""

    name: str
    title: str
    query: dict[Literal["text", "image", "audio", "video"], str]
    modality: Modality
    within: int
    expect: tuple[Expected, ...]

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """The query's parts, files by their path."""
        return tuple((k, v if k == "text" else str(HOME / v)) for k, v in self.query.items())

    @property
    def command(self) -> str:
        """The same search on the command line."""
        words = [f"'{v}'" if k == "text" else f"--{k} infra/demo/{v}" for k, v in self.query.items()]
        return f"embedlake search {' '.join(words)} --modality {self.modality}"

    def found(self, hits: list[Hit]) -> bool:
        """Whether the hits hold what was expected."""
        return any(expected.matches(hit) for expected in self.expect for hit in hits[: self.within])


def load_searches() -> list[Search]:
    """The searches of `searches.yaml`."""
    document = yaml.safe_load((HOME / "searches.yaml").read_text())
    return [Search.model_validate(entry) for entry in document["searches"]]
