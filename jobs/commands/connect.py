"""`embedlake connect`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Space, app
from schemas.config import Config
from schemas.errors import UsageError
from schemas.export import Tool


@app.command()
def connect(
    context: typer.Context,
    lake: Annotated[
        str | None, typer.Option("--lake", envvar="EMBEDLAKE_LAKE", help="folder or s3:// prefix of the lake")
    ] = None,
    tool: Annotated[Tool | None, typer.Option(help="one tool; all that can read it else")] = None,
    corpus: Corpus = None,
    space: Space = None,
    pin: Annotated[bool, typer.Option("--pin", help="the version of now, not the tag that moves")] = False,
    export: Annotated[
        str | None, typer.Option(metavar="TARGET", help="read this export, not the lake")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the lines that read the lake, or an export of it, in another tool. No credentials are in them."""
    from jobs.show_export import show_lines
    from operators.storage import Storage
    from pipelines.connect import lance_place, parquet_place, written
    from pipelines.reader import LakeReader
    from pipelines.spaces import find_space

    config: Config = context.obj
    storage = Storage(config.storage)
    if export is not None:
        if space or pin:
            raise UsageError("--export holds one space as it was: leave --space and --pin out")
        return show_lines(written(parquet_place(export, storage), tool), as_json)
    if lake is None:
        raise UsageError("nothing to connect to: give --lake or --export")
    reader = LakeReader.open(lake, storage)
    name, entry = reader.corpus(corpus)
    chosen = find_space(reader, name, space) if space else entry.live
    return show_lines(written(lance_place(reader, name, chosen, pinned=pin), tool), as_json)
