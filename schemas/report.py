"""What a run says of itself: the JSON of `embedlake embed --json` and of the `runs` table."""

from __future__ import annotations

from datetime import datetime

from schemas.card import Frozen


class Counts(Frozen):
    """Assets of one run. `listed = unchanged + embedded + quarantined` holds for every finished run (I2)."""

    listed: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    embedded: int = 0
    quarantined: int = 0
    segments: int = 0
    tokens: int = 0


class RunReport(Frozen):
    """One run over one corpus. `published_version` is None when nothing had changed."""

    run_id: str
    corpus: str
    lake: str
    space: str
    model: str
    started_at: datetime
    finished_at: datetime
    counts: Counts
    quarantine_reasons: dict[str, int]
    published_version: int | None
    resumed_segments: int = 0
    seconds: dict[str, float]
    log: str
