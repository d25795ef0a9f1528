"""`embedlake cluster`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, OfModality, Space, WaitMinutes, Width, app, wait_seconds
from schemas.config import Config


@app.command()
def cluster(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    space: Space = None,
    k: Annotated[int, typer.Option("--k", "-k", help="how many")] = 100,
    width: Width = None,
    modality: OfModality = None,
    seed: Annotated[int, typer.Option(min=0, help="of the sample and of the first centres")] = 0,
    wait_minutes: WaitMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Cluster a corpus' segments and say what each cluster is about, for the SQL view <corpus>__clusters."""
    from jobs.display import open_display
    from jobs.show_groups import show_clusters
    from operators.storage import Storage
    from pipelines.clusters import cluster as run
    from pipelines.grouping import Request

    config: Config = context.obj
    request = Request(corpus=corpus, space=space, width=width, modality=modality, seed=seed)
    with open_display(as_json) as progress:
        found = run(
            lake,
            request,
            k,
            Storage(config.storage),
            wait_s=wait_seconds(wait_minutes, config),
            progress=progress,
        )
    show_clusters(found, as_json)
