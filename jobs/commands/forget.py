"""`embedlake forget`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, WaitMinutes, app, wait_seconds
from schemas.config import Config
from schemas.errors import UsageError


@app.command()
def forget(
    context: typer.Context,
    lake: Lake,
    uris: Annotated[
        list[str] | None, typer.Argument(metavar="URI", help="assets, as the lake names them")
    ] = None,
    where: Annotated[
        str | None, typer.Option(help="SQL predicate over the columns of assets, or of segments")
    ] = None,
    corpus: Corpus = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="erase; without it only say what would be erased")
    ] = False,
    again: Annotated[
        bool, typer.Option("--allow-again", help="let forgotten URIs come back with the next run")
    ] = False,
    wait_minutes: WaitMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Erase assets from every table, every old version and every run's files, and do not embed them again."""
    from jobs.show_upkeep import show_allowed, show_choice, show_erasure
    from operators.storage import Storage
    from pipelines.chosen import choose
    from pipelines.forget import allow_again
    from pipelines.forget import forget as erase
    from pipelines.reader import LakeReader

    config: Config = context.obj
    storage, wait_s = Storage(config.storage), wait_seconds(wait_minutes, config)
    reader = LakeReader.open(lake, storage)
    name, _ = reader.corpus(corpus)
    if again:
        if where or not uris:
            raise UsageError("--allow-again wants the URIs: what was forgotten cannot be searched for")
        return show_allowed(allow_again(lake, name, uris, storage, wait_s=wait_s), as_json)
    choice = choose(reader, name, uris or (), where)
    if not uris and not where and not choice.uris:
        raise UsageError("nothing to forget: give URIs or --where")
    if not yes:
        return show_choice(choice, as_json)
    return show_erasure(erase(lake, name, choice.uris, storage, wait_s=wait_s), as_json)
