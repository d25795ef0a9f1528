"""`embedlake status`."""

from __future__ import annotations

import typer

from jobs.app import AsJson, Lake, app
from schemas.config import Config


@app.command()
def status(context: typer.Context, lake: Lake, as_json: AsJson = False) -> None:
    """Show what the lake holds."""
    from jobs.display import show_status
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.status import status as count

    config: Config = context.obj
    show_status(count(LakeReader.open(lake, Storage(config.storage))), as_json)
