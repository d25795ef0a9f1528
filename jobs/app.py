"""The command line's frame: the config file, and the flags that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jobs.settings import load_config, version
from schemas.errors import Interrupted


class Commands(TyperGroup):
    """The commands; typer alone ends an interrupted one without a word."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            Interrupted: by a person.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error


app = typer.Typer(
    name="embedlake",
    cls=Commands,
    help="Embed a whole corpus into one lake of vectors, and query it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Lake = Annotated[
    str, typer.Option("--lake", envvar="EMBEDLAKE_LAKE", help="folder or s3:// prefix of the lake")
]
Corpus = Annotated[str | None, typer.Option("--corpus", envvar="EMBEDLAKE_CORPUS", help="name of the corpus")]
Model = Annotated[
    str | None, typer.Option("--model", envvar="EMBEDLAKE_MODEL", help="shipped name, local folder or hub id")
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"embedlake {version()}")
        raise typer.Exit


@app.callback()
def settings(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="EMBEDLAKE_CONFIG", help="YAML of defaults (else ./embedlake.yaml)"),
    ] = None,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Read the config file: its values are the defaults of every command's flags."""
    loaded = load_config(config)
    context.obj = loaded
    flags = loaded.model_dump(
        include={"lake", "corpus", "model", "recipe", "allow", "ray_address"}, exclude_none=True
    )
    commands: Any = context.command
    context.default_map = dict.fromkeys(commands.commands, flags)
