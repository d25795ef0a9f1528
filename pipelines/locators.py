"""Where in its asset a segment lies, for people."""

from __future__ import annotations

from typing import Any


def locate(row: dict[str, Any]) -> str:
    """A segment's locator for people: `p. 7`, `pp. 7-9`, `p. 7, chars 0-812`, `01:23-01:31`, `rows 4-5`, or nothing."""
    chars = "" if row["char_start"] is None else f"chars {row['char_start']}-{row['char_end']}"
    if row["page"] is not None:
        last = row["page_end"]
        pages = f"p. {row['page']}" if last in (None, row["page"]) else f"pp. {row['page']}-{last}"
        return f"{pages}, {chars}" if chars else pages
    if row["start_ms"] is not None:
        return f"{_clock(row['start_ms'])}-{_clock(row['end_ms'])}"
    if row["row_start"] is not None:
        return f"rows {row['row_start']}-{row['row_end']}"
    return chars


def _clock(ms: int) -> str:
    seconds = ms // 1000
    hours = f"{seconds // 3600}:" if seconds >= 3600 else ""
    return f"{hours}{seconds // 60 % 60:02d}:{seconds % 60:02d}"
