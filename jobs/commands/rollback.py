"""`embedlake rollback`."""

from __future__ import annotations

import typer

from jobs.app import AsJson, Corpus, Lake, app
from schemas.config import Config


@app.command()
def rollback(context: typer.Context, lake: Lake, corpus: Corpus = None, as_json: AsJson = False) -> None:
    """Make the space that was live before the live one again, for every reader at once."""
    from jobs.show_spaces import show_alias
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.spaces import rollback as move

    config: Config = context.obj
    storage = Storage(config.storage)
    name, _ = LakeReader.open(lake, storage).corpus(corpus)
    show_alias(move(lake, name, storage), as_json)
