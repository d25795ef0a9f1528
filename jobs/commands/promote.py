"""`embedlake promote`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, SpaceName, app
from schemas.config import Config


@app.command()
def promote(
    context: typer.Context,
    space: SpaceName,
    lake: Lake,
    corpus: Corpus = None,
    force: Annotated[bool, typer.Option("--force", help="whatever the comparison says")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a space the live one, for every reader at once; `rollback` undoes it."""
    from jobs.show_spaces import show_alias
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.spaces import find_space
    from pipelines.spaces import promote as move

    config: Config = context.obj
    storage = Storage(config.storage)
    reader = LakeReader.open(lake, storage)
    name, _ = reader.corpus(corpus)
    show_alias(move(lake, name, find_space(reader, name, space), storage, force=force), as_json)
