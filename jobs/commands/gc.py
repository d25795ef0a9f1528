"""`embedlake gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, WaitMinutes, app, wait_seconds
from schemas.config import Config


@app.command()
def gc(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    days: Annotated[float, typer.Option(help="what readers or dead runs left longer ago than this")] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count, and delete nothing")] = False,
    wait_minutes: WaitMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Delete what nobody needs any more: old versions, what dead runs left, receipts of runs that have ended."""
    from jobs.show_upkeep import show_garbage
    from operators.storage import Storage
    from pipelines.gc import collect

    config: Config = context.obj
    storage, wait_s = Storage(config.storage), wait_seconds(wait_minutes, config)
    found = collect(lake, corpus, storage, days=days, dry_run=dry_run, wait_s=wait_s)
    show_garbage(found, as_json)
