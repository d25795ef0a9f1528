"""Flags that the commands which list sources share: what to segment how, and which assets to look at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from schemas.config import Selection
from schemas.space import VectorType

Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="folders, s3:// prefixes, files, or manifests")
]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="a recipe's name (debug, ...) or YAML file")]
Allow = Annotated[
    list[str] | None, typer.Option("--allow", help="a further root that manifests and documents may read")
]
Vectors = Annotated[VectorType, typer.Option("--vectors", help="type of the vector columns")]
Full = Annotated[bool, typer.Option("--full", help="everything again, changed or not")]
Since = Annotated[datetime | None, typer.Option("--since", help="only what was modified since, UTC")]
Include = Annotated[list[str] | None, typer.Option("--include", help="only URIs that fit this glob")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", help="no URI that fits this glob")]
MaxAssets = Annotated[
    int | None, typer.Option("--max-assets", min=1, help="so many assets, the rest next time")
]


def selection(
    full: bool,
    since: datetime | None,
    include: list[str] | None,
    exclude: list[str] | None,
    max_assets: int | None,
) -> Selection:
    """The flags as a selection; a time without a zone is UTC."""
    return Selection(
        full=full,
        since=since if since is None or since.tzinfo else since.replace(tzinfo=UTC),
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        max_assets=max_assets,
    )
