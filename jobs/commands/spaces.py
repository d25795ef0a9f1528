"""`embedlake spaces list|show|drop`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Commands, Corpus, Lake, SpaceName, WaitMinutes, app, wait_seconds
from schemas.config import Config
from schemas.errors import UsageError

spaces = typer.Typer(cls=Commands, no_args_is_help=True, help="The embedding spaces of a corpus.")
app.add_typer(spaces, name="spaces")


@spaces.command("list")
def list_(context: typer.Context, lake: Lake, corpus: Corpus = None, as_json: AsJson = False) -> None:
    """Every space: its model, how much of the live one it holds, and whether it may be promoted."""
    from jobs.show_spaces import show_spaces
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.spaces import spaces as found

    config: Config = context.obj
    reader = LakeReader.open(lake, Storage(config.storage))
    name, _ = reader.corpus(corpus)
    show_spaces(name, found(reader, name), as_json)


@spaces.command()
def show(
    context: typer.Context, space: SpaceName, lake: Lake, corpus: Corpus = None, as_json: AsJson = False
) -> None:
    """One space, with its recipe and what the last comparison said."""
    from jobs.show_spaces import show_space
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.spaces import find_space, space_status

    config: Config = context.obj
    reader = LakeReader.open(lake, Storage(config.storage))
    name, entry = reader.corpus(corpus)
    found = find_space(reader, name, space)
    show_space(space_status(reader, name, found), reader.space(name, found), entry.spaces[found], as_json)


@spaces.command()
def drop(
    context: typer.Context,
    space: Annotated[str, typer.Argument(metavar="SPACE", help="its whole name")],
    lake: Lake,
    corpus: Corpus = None,
    yes: Annotated[bool, typer.Option("--yes", help="there is no way back")] = False,
    wait_minutes: WaitMinutes = None,
    as_json: AsJson = False,
) -> None:
    """Delete a space that is not live, with every file of it."""
    from jobs.show_spaces import show_drop
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.spaces import drop as remove

    config: Config = context.obj
    storage = Storage(config.storage)
    name, _ = LakeReader.open(lake, storage).corpus(corpus)
    if not yes:
        raise UsageError(f"space {space} of corpus '{name}' would be gone for good: add --yes")
    show_drop(remove(lake, name, space, storage, wait_s=wait_seconds(wait_minutes, config)), as_json)
