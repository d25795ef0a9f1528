"""Near-duplicates and clusters for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobs.plain import plain

if TYPE_CHECKING:
    from pipelines.clusters import Clusters
    from pipelines.dedup import Duplicates
    from pipelines.grouping import Example

_MB = 1e6


def show_duplicates(found: Duplicates, as_json: bool) -> None:
    """How much could go, and the largest groups."""
    if as_json:
        return print(found.model_dump_json())
    console = Console(highlight=False)
    console.print(
        f"{found.rows:,} segments of {plain(found.space)} at width {found.width}: {found.groups:,} groups hold "
        f"{found.grouped_rows:,} of them, with a cosine of at least {found.threshold:g} to their representative",
        soft_wrap=True,
    )
    console.print(
        f"segments that could go: {found.redundant_rows:,}, of them of the same content: {found.exact_rows:,}; assets "
        f"that could go whole: {found.redundant_assets:,}, {found.redundant_bytes / _MB:,.1f} MB at their source",
        soft_wrap=True,
    )
    if not found.exhaustive:
        share = "no pair in the sample" if found.recall is None else f"{found.recall:.1%} of the pairs"
        console.print(f"approximate: compared within neighbouring cells, which finds {share}", soft_wrap=True)
    if not found.groups:
        return None
    table = Table(box=None, header_style="bold")
    table.add_column("rows", justify="right")
    for name in ("representative", "duplicates"):
        table.add_column(name, overflow="fold")
    for group in found.largest:
        first, *others = group.examples
        table.add_row(str(group.rows), _named([first]), _named(others, group.rows - 1))
    console.print(table)
    return console.print(_view(found.corpus, "duplicates"), soft_wrap=True)


def show_clusters(found: Clusters, as_json: bool) -> None:
    """A line for each cluster."""
    if as_json:
        return print(found.model_dump_json())
    console = Console(highlight=False)
    console.print(
        f"{found.rows:,} segments of {plain(found.space)} at width {found.width}: {len(found.clusters):,} clusters, "
        f"fitted on {found.sample:,} segments",
        soft_wrap=True,
    )
    table = Table(box=None, header_style="bold")
    for name in ("cluster", "rows"):
        table.add_column(name, justify="right")
    for name in ("label", "nearest to its centre"):
        table.add_column(name, overflow="fold")
    for one in found.clusters:
        label = Text(plain(one.label or ""))
        table.add_row(str(one.cluster), f"{one.rows:,}", label, _named(one.central))
    console.print(table)
    return console.print(_view(found.corpus, "clusters"), soft_wrap=True)


def _named(examples: Sequence[Example], rows: int = 0) -> Text:
    """The URIs with their places and cosines, a line each, and how many more there are."""
    lines = [f"{one.uri} {one.where}".strip() + f"  {one.score:.3f}" for one in examples]
    more = [f"and {rows - len(examples):,} more"] if rows > len(examples) else []
    return Text("\n".join([*map(plain, lines), *more]))


def _view(corpus: str, kind: str) -> str:
    return f'query them: embedlake sql "FROM {corpus}__{kind}"'
