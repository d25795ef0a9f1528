"""What the quarantine says to people and to scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from jobs.plain import plain

if TYPE_CHECKING:
    from pipelines.quarantine import Quarantined, Retried


def show_quarantined(rows: Sequence[Quarantined], as_json: bool) -> None:
    """One line for each asset."""
    if as_json:
        return print(json.dumps({"quarantined": [row.model_dump(mode="json") for row in rows]}))
    console = Console(highlight=False)
    for row in rows:
        line = f"{row.error_code}  {plain(row.uri)}  {plain(row.error_detail or '')}"
        console.print(Text(line), soft_wrap=True)
    return console.print(f"{len(rows)} in quarantine")


def show_one(row: Quarantined, as_json: bool) -> None:
    """Each column on a line."""
    if as_json:
        return print(row.model_dump_json())
    console = Console(highlight=False)
    for name, value in row.model_dump(mode="json").items():
        if value is not None:
            console.print(Text(f"{name}: {plain(str(value))}"), soft_wrap=True)
    return None


def show_retried(retried: Retried | None, as_json: bool) -> None:
    """How many have vectors now, and why the others have none."""
    if as_json:
        empty = {"chosen": 0, "still_quarantined": 0, "report": None}
        return print(json.dumps(empty) if retried is None else retried.model_dump_json())
    console = Console(highlight=False)
    if retried is None:
        return console.print("nothing in quarantine fits: nothing to try again")
    console.print(
        f"{retried.chosen} tried again: {retried.chosen - retried.still_quarantined} left the quarantine, "
        f"{retried.still_quarantined} did not"
    )
    for code, count in retried.report.quarantine_reasons.items():
        console.print(f"  {count} x {code}")
    return None
