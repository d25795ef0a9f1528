"""The widths of a space for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from jobs.plain import plain

if TYPE_CHECKING:
    from pipelines.widths import Resizing, Widths

_MB = 1e6


def show_widths(found: Widths, as_json: bool, drop: Sequence[int], add: Sequence[int]) -> None:
    """A line for each width, and what dropping or adding would come to."""
    if as_json:
        return print(found.model_dump_json())
    console = Console(highlight=False)
    table = Table(box=None, header_style="bold")
    for name in ("width", "column", f"recall@{found.k}", "with the full one", "MB"):
        table.add_column(name, justify="left" if name == "column" else "right")
    for one in found.widths:
        stored = "yes" if one.stored else "no"
        table.add_row(
            str(one.width),
            stored,
            f"{one.recall:.3f}",
            f"{one.shortlist_recall:.3f}",
            f"{one.bytes / _MB:,.1f}",
        )
    console.print(table)
    console.print(
        f"{plain(found.space)}: {found.rows} rows; {found.queries} of them as queries among {found.gallery}. "
        f"'with the full one': the {10 * found.k} nearest at this width, ranked again by the full one.",
        soft_wrap=True,
    )
    sizes = {one.width: one.bytes for one in found.widths}
    gone, more = (sum(sizes.get(width, 0) for width in widths) for widths in (drop, add))
    if drop or add:
        console.print(
            f"dropping would save {gone / _MB:,.1f} MB, adding cost {more / _MB:,.1f} MB: do it with --yes"
        )
    return None


def show_resizing(done: Resizing, as_json: bool) -> None:
    """What a space has now."""
    if as_json:
        return print(done.model_dump_json())
    widths = ", ".join(map(str, done.widths))
    return Console(highlight=False).print(
        f"space {plain(done.space)} has widths {widths}; its files take {done.bytes / _MB:,.1f} MB, "
        f"{done.bytes_before / _MB:,.1f} MB before; old ones go with `embedlake maintain`",
        soft_wrap=True,
    )
