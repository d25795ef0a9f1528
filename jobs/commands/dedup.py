"""`embedlake dedup`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, OfModality, Space, WaitMinutes, Width, app, wait_seconds
from schemas.config import Config


@app.command()
def dedup(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    space: Space = None,
    threshold: Annotated[float, typer.Option(help="least cosine with a group's representative")] = 0.95,
    width: Width = None,
    modality: OfModality = None,
    seed: Annotated[int, typer.Option(min=0, help="of the cells that a large corpus is cut into")] = 0,
    wait_minutes: WaitMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Group near-duplicates around representatives, for the SQL view <corpus>__duplicates; nothing is deleted."""
    from jobs.display import open_display
    from jobs.show_groups import show_duplicates
    from operators.storage import Storage
    from pipelines.dedup import dedup as run
    from pipelines.grouping import Request

    config: Config = context.obj
    request = Request(corpus=corpus, space=space, width=width, modality=modality, seed=seed)
    with open_display(as_json) as progress:
        found = run(
            lake,
            request,
            threshold,
            Storage(config.storage),
            wait_s=wait_seconds(wait_minutes, config),
            progress=progress,
        )
    show_duplicates(found, as_json)
