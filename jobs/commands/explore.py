"""`embedlake explore`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import Allow, Corpus, Lake, Model, app
from schemas.config import Config
from schemas.errors import UsageError


@app.command()
def explore(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    model: Model = None,
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="to listen on; 0 takes a free one")] = 0,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="open the page in a browser")] = True,
    allow: Allow = None,
) -> None:
    """Look at a lake in a local page: search by words and files, see and hear the hits."""
    from operators.storage import Storage

    try:
        from jobs.explore.serve import explore as serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "anyio"):
            raise
        raise UsageError(f"{error.name} is not installed: pip install 'embedlake[explore]'") from error
    config: Config = context.obj
    serve(lake, corpus, model, host, port, open_page, tuple(allow or ()), Storage(config.storage))
