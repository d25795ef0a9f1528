"""`embedlake sql`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Lake, app
from schemas.config import Config


@app.command()
def sql(
    context: typer.Context,
    statement: Annotated[
        str, typer.Argument(metavar="SQL", help="one statement; views: the corpora, assets, ...")
    ],
    lake: Lake,
    as_json: AsJson = False,
) -> None:
    """Query the lake with DuckDB; the view named after a corpus is its live space."""
    from jobs.display import show_table
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.sql import query

    config: Config = context.obj
    show_table(query(LakeReader.open(lake, Storage(config.storage)), statement), as_json)
