"""`embedlake index`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, Space, WaitMinutes, app, wait_seconds
from schemas.config import Config
from schemas.errors import UsageError
from schemas.space import IndexKind


@app.command()
def index(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    space: Space = None,
    kind: Annotated[IndexKind | None, typer.Option(help="of the index over vectors, else by size")] = None,
    width: Annotated[
        int | None, typer.Option(help="to look in, else the narrowest that is good enough")
    ] = None,
    recall: Annotated[float, typer.Option(min=0.5, max=1.0, help="of the true nearest 10, measured")] = 0.98,
    drop: Annotated[bool, typer.Option("--drop", help="drop the indices instead")] = False,
    wait_minutes: WaitMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Build the indices that a search uses, and measure how far it has to look; nightly keeps them fresh."""
    from jobs.show_index import say, show_indexing
    from operators.storage import Storage
    from pipelines.index import IndexJob
    from pipelines.reader import LakeReader
    from pipelines.spaces import find_space

    if drop and (kind or width):
        raise UsageError("--drop drops all indices: it takes neither --kind nor --width")
    config: Config = context.obj
    storage = Storage(config.storage)
    reader = LakeReader.open(lake, storage)
    name, entry = reader.corpus(corpus)
    job = IndexJob(
        lake=lake,
        corpus=name,
        space=find_space(reader, name, space) if space else entry.live,
        kind=kind,
        width=width,
        recall=recall,
        storage=storage,
        wait_s=wait_seconds(wait_minutes, config),
        step=say,
    )
    show_indexing(job.drop() if drop else job.build(), as_json)
