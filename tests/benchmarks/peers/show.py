"""The result as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def document(found: dict[str, Any]) -> str:
    """Every table of a result."""
    parts = [", ".join(f"{name} {value}" for name, value in found["machine"].items())]
    parts += [_workload(one) for one in found["workloads"]]
    if "night" in found:
        parts.append(_night(found["night"]))
    if "kill" in found:
        parts.append(_killed(found["kill"]))
    return "\n\n".join(parts)


def _workload(found: dict[str, Any]) -> str:
    ours = next((one for one in found["ways"] if one["way"] == "embedlake"), None)
    titles = (
        "way",
        "rows",
        "rows/s (spread)",
        "embedlake is x",
        "with start",
        "CPU ms/row",
        "embedlake's is x",
        "an eighth, s",
        "peak MB",
        "embedlake's is x",
        "least cosine",
    )
    rows = [_way(one, ours) for one in found["ways"]]
    failed = "".join(f"\n\n{way} failed: {why.splitlines()[-1]}" for way, why in found["failures"].items())
    return f"## {found['workload']}, {found['files']} files\n\n{table(titles, rows)}{failed}"


def _way(one: dict[str, Any], ours: dict[str, Any] | None) -> tuple[Any, ...]:
    def ratio(name: str) -> str:
        return f"{ours[name] / one[name]:.2f}" if ours else ""

    return (
        one["way"],
        one["rows"],
        f"{one['rows_per_second']:.2f} ({one['spread'][0]:.2f}-{one['spread'][1]:.2f})",
        ratio("rows_per_second"),
        f"{one['rows_per_second_with_start']:.2f}",
        f"{one['cpu_ms']:.0f}",
        ratio("cpu_ms"),
        f"{one['start_seconds']:.1f}",
        f"{one['peak_mb']:.0f}",
        ratio("peak_mb"),
        "" if one["nearness"] is None else f"{one['nearness']:.6f}",
    )


def _night(found: list[dict[str, Any]]) -> str:
    titles = ("way", "files", "changed", "rows embedded", "first run s", "night s", "night CPU s")
    rows = [
        (
            one["way"],
            one["files"],
            one["changed"],
            one["rows_embedded"],
            f"{one['first_seconds']:.1f}",
            f"{one['seconds']:.1f}",
            f"{one['cpu_seconds']:.1f}",
        )
        for one in found
    ]
    return f"## A night with 1 % changed\n\n{table(titles, rows)}"


def _killed(found: list[dict[str, Any]]) -> str:
    titles = (
        "way",
        "rows",
        "killed after",
        "repeated",
        "CPU s repeated",
        "missing",
        "doubled",
        "unreadable files",
        "second run s",
    )
    rows = [
        (
            one["way"],
            one["rows"],
            one["killed_at"],
            one["rows_repeated"],
            f"{one['cpu_seconds_repeated']:.1f}",
            one["missing"],
            one["doubled"],
            one["unreadable_files"],
            f"{one['second_run_seconds']:.1f}",
        )
        for one in found
    ]
    return f"## The driver killed half-way, and the same command again\n\n{table(titles, rows)}"


def table(titles: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
