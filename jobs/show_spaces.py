"""What spaces, backfills, promotions and rollbacks say to people and to scripts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from jobs.plain import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pipelines.spaces import Alias, Drop, SpaceStatus
    from schemas.corpus import SpaceState
    from schemas.report import BackfillReport
    from schemas.space import Space


def show_backfill(report: BackfillReport, as_json: bool) -> None:
    """How far a backfill came."""
    if as_json:
        return print(report.model_dump_json())
    r, console = report, Console(highlight=False)
    console.print(
        f"space {r.space}: {r.coverage:.1%} of the live space's assets, {r.batches} batches published now\n"
        f"{r.embedded} embedded, {r.moved} moved, {r.quarantined} quarantined, {r.updated} updated, "
        f"{r.deleted} deleted; {r.segments} segments, {r.tokens} tokens, {r.actor_seconds:.0f} actor-seconds",
        soft_wrap=True,
    )
    if r.complete:
        return console.print(
            f"complete: `embedlake compare LIVE {r.space}` says whether to promote it", soft_wrap=True
        )
    return console.print(f"{r.left} assets are left: the same command, or the next night, goes on")


def show_alias(moved: Alias, as_json: bool) -> None:
    """Where readers are now."""
    if as_json:
        return print(moved.model_dump_json())
    console = Console(highlight=False)
    console.print(
        f"corpus {moved.corpus}: {moved.live} is live, {moved.before} was (catalog entry {moved.catalog_entry})",
        soft_wrap=True,
    )
    if moved.coverage < 1:
        console.print(
            f"it holds {moved.coverage:.1%} of what {moved.before} does: `embedlake embed` or the next night, with its "
            f"model, brings it up to date",
            soft_wrap=True,
        )
    return None


def show_drop(done: Drop, as_json: bool) -> None:
    """What is gone."""
    if as_json:
        return print(done.model_dump_json())
    return Console(highlight=False).print(
        f"dropped {done.space} of corpus {done.corpus}: {done.files} files, {decimal(done.bytes)}",
        soft_wrap=True,
    )


def show_spaces(corpus: str, found: Sequence[SpaceStatus], as_json: bool) -> None:
    """The spaces of a corpus."""
    if as_json:
        return print(json.dumps({"corpus": corpus, "spaces": [one.model_dump(mode="json") for one in found]}))
    table = Table(box=None, header_style="bold")
    for name in ("space", "state", "model", "coverage", "segments", "quarantined", "widths", "gate"):
        table.add_column(name, overflow="fold")
    for one in found:
        shown = (one.space, _state(one), one.model, f"{one.coverage:.1%}", one.segments, one.quarantined,
                 ", ".join(map(str, one.widths)), _gate(one))  # fmt: skip
        table.add_row(*(Text(plain(str(value))) for value in shown))
    return Console().print(table)


def show_space(one: SpaceStatus, made: Space, state: SpaceState, as_json: bool) -> None:
    """One space in full."""
    document = {
        **one.model_dump(mode="json"),
        "card": made.card.model_dump(mode="json"),
        "recipe": made.recipe.model_dump(mode="json"),
        "backfill": state.backfill and state.backfill.model_dump(mode="json"),
    }
    if as_json:
        return print(json.dumps(document))
    console = Console(highlight=False)
    for name, value in document.items():
        console.print(Text(f"{name}: {plain(json.dumps(value))}"), soft_wrap=True)
    return None


def _state(one: SpaceStatus) -> str:
    if one.live:
        return "live"
    if one.building:
        return "building"
    return "beside" if one.retired_at is None else f"live until {one.retired_at:%Y-%m-%d}"


def _gate(one: SpaceStatus) -> str:
    if one.verdict is None:
        return ""
    return "; ".join(one.verdict.failures) or "passed"
