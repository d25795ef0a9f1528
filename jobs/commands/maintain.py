"""`embedlake maintain`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, WaitMinutes, app, wait_seconds
from schemas.config import Config


@app.command()
def maintain(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    days: Annotated[float, typer.Option(help="old versions go this long after readers left them")] = 7.0,
    wait_minutes: WaitMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Compact a corpus' tables, bring their indices up to date, and remove old versions."""
    from jobs.show_upkeep import show_maintenance
    from operators.storage import Storage
    from pipelines.maintenance import maintain as work

    config: Config = context.obj
    storage, wait_s = Storage(config.storage), wait_seconds(wait_minutes, config)
    done = work(lake, corpus, storage, days=days, wait_s=wait_s)
    show_maintenance(done, as_json)
