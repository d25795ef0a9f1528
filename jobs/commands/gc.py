"""`embedlake gc`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, app
from schemas.config import Config


@app.command()
def gc(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    days: Annotated[float, typer.Option(help="what readers or dead runs left longer ago than this")] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count, and delete nothing")] = False,
    wait_minutes: Annotated[float, typer.Option(min=0, help="how long to wait for a run of a corpus")] = 0,
    as_json: AsJson = False,
) -> None:
    """Delete what nobody needs any more: old versions, what dead runs left, receipts of runs that have ended."""
    from jobs.show_upkeep import show_garbage
    from operators.storage import Storage
    from pipelines.gc import collect

    config: Config = context.obj
    storage = Storage(config.storage)
    found = collect(lake, corpus, storage, days=days, dry_run=dry_run, wait_s=wait_minutes * 60)
    show_garbage(found, as_json)
