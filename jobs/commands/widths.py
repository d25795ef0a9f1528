"""`embedlake widths`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, Space, WaitMinutes, app, wait_seconds
from schemas.config import Config
from schemas.errors import UsageError


@app.command()
def widths(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    space: Space = None,
    drop: Annotated[list[int] | None, typer.Option(help="a width whose column is to go")] = None,
    add: Annotated[list[int] | None, typer.Option(help="a width to cut from the full one")] = None,
    look: Annotated[list[int] | None, typer.Option(help="a further width to measure")] = None,
    k: Annotated[int, typer.Option(min=1, help="neighbours")] = 10,
    queries: Annotated[int, typer.Option(min=1, help="rows whose neighbours are looked for, at most")] = 200,
    sample: Annotated[int, typer.Option(min=2, help="rows among which, at most")] = 10_000,
    seed: Annotated[int, typer.Option(help="of the sample")] = 0,
    yes: Annotated[
        bool, typer.Option("--yes", help="drop and add; without it they are only measured")
    ] = False,
    wait_minutes: WaitMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Say what each width keeps of the full one on your own data; drop or add widths without embedding again."""
    from jobs.show_widths import show_resizing, show_widths
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.spaces import find_space
    from pipelines.widths import measure, resize

    config: Config = context.obj
    storage = Storage(config.storage)
    reader = LakeReader.open(lake, storage)
    name, entry = reader.corpus(corpus)
    chosen = find_space(reader, name, space or entry.live)
    if yes and look:
        raise UsageError("--look measures and --yes changes: do one at a time")
    if yes:
        wait_s = wait_seconds(wait_minutes, config)
        done = resize(lake, name, chosen, drop=drop or (), add=add or (), storage=storage, wait_s=wait_s)
        return show_resizing(done, as_json)
    further = [*(look or ()), *(add or ())]
    found = measure(reader, name, chosen, further=further, k=k, queries=queries, gallery=sample, seed=seed)
    return show_widths(found, as_json, drop or (), add or ())
