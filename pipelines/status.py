"""What a lake holds, in numbers."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from pipelines.reader import LakeReader
from pipelines.spaces import SpaceStatus, spaces
from schemas.card import Frozen
from schemas.report import RunReport
from schemas.tables import EMBEDDED, QUARANTINED


class CorpusStatus(Frozen):
    """One corpus as its readers see it."""

    corpus: str
    space: str
    model: str
    widths: tuple[int, ...]
    version: int
    published_at: datetime | None
    assets: int
    embedded: int
    quarantined: int
    segments: int
    segments_by_modality: dict[str, int]
    quarantine_reasons: dict[str, int]
    source_bytes: int
    last_run: RunReport | None
    spaces: tuple[SpaceStatus, ...]


class LakeStatus(Frozen):
    """A lake and its corpora."""

    lake: str
    catalog_entry: int
    corpora: tuple[CorpusStatus, ...]


def status(reader: LakeReader) -> LakeStatus:
    """Count what is published."""
    corpora = tuple(_corpus(reader, name) for name in sorted(reader.catalog.corpora))
    return LakeStatus(lake=reader.layout.lake, catalog_entry=reader.catalog.number, corpora=corpora)


def _corpus(reader: LakeReader, name: str) -> CorpusStatus:
    entry = reader.catalog.corpora[name]
    space = reader.space(name)
    assets = pl.DataFrame(
        pl.from_arrow(reader.assets(name).to_table(columns=["status", "error_code", "size"]))
    )
    modality = pl.DataFrame(pl.from_arrow(reader.segments(name).to_table(columns=["modality"])))
    by_modality = modality.group_by("modality").len().sort("modality")
    bad = assets.filter(pl.col("status") == QUARANTINED)
    runs = reader.runs(name)
    return CorpusStatus(
        corpus=name,
        space=space.id,
        model=space.card.model_id,
        widths=space.widths,
        version=entry.now.version,
        published_at=entry.published_at,
        assets=assets.height,
        embedded=assets.filter(pl.col("status") == EMBEDDED).height,
        quarantined=bad.height,
        segments=modality.height,
        segments_by_modality=dict(by_modality.iter_rows()),
        quarantine_reasons=dict(bad.group_by("error_code").len().sort("error_code").iter_rows()),
        source_bytes=int(assets["size"].fill_null(0).sum()),
        last_run=runs[-1] if runs else None,
        spaces=tuple(spaces(reader, name)),
    )
