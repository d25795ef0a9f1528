"""The command line's frame: the config file, and the flags that several commands share."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jobs.settings import load_config, version
from schemas.card import Modality
from schemas.config import Config, Selection
from schemas.errors import Interrupted
from schemas.space import VectorType


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
Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="folders, s3:// prefixes, files, or manifests")
]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="a shipped recipe's name, or a YAML file")]
Allow = Annotated[
    list[str] | None, typer.Option("--allow", help="a further root that manifests and documents may read")
]
Vectors = Annotated[VectorType, typer.Option("--vectors", help="type of the vector columns")]
Full = Annotated[bool, typer.Option("--full", help="embed everything again, changed or not")]
Since = Annotated[datetime | None, typer.Option("--since", help="only what was modified since, UTC")]
Include = Annotated[list[str] | None, typer.Option("--include", help="only URIs that fit this glob")]
Exclude = Annotated[list[str] | None, typer.Option("--exclude", help="no URI that fits this glob")]
MaxAssets = Annotated[
    int | None, typer.Option("--max-assets", min=1, help="so many assets, the rest next time")
]
WaitMinutes = Annotated[
    float | None, typer.Option("--wait-minutes", min=0, help="how long to wait for a run of the corpus [0]")
]
RayAddress = Annotated[
    str | None, typer.Option("--ray-address", help="a running Ray cluster, else a local one")
]
SpaceName = Annotated[str, typer.Argument(metavar="SPACE", help="its name, or a beginning of it")]
Space = Annotated[str | None, typer.Option("--space", help="its name, or a beginning of it [the live one]")]
Width = Annotated[int | None, typer.Option("--width", help="an MRL width of the lake, else the full one")]
OfModality = Annotated[Modality | None, typer.Option("--modality", help="only segments of this modality")]
KeepPrepared = Annotated[
    bool,
    typer.Option(
        "--keep-prepared/--no-keep-prepared", help="keep decoded media for the next model's backfill"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]


def wait_seconds(minutes: float | None, config: Config) -> float:
    """How long to wait for a run that holds a corpus: the flag's minutes, else the config's."""
    return 60 * (config.policy.wait_minutes if minutes is None else minutes)


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
        include={"lake", "corpus", "model", "recipe", "allow", "ray_address", "keep_prepared"},
        exclude_none=True,
    )
    context.default_map = _defaults(context.command, flags)


def _defaults(group: Any, flags: dict[str, Any]) -> dict[str, Any]:
    """The flags as defaults of each command, and of the commands below one."""
    known = group.commands.items()
    return {name: _defaults(found, flags) if hasattr(found, "commands") else flags for name, found in known}


def selection(
    full: bool,
    since: datetime | None,
    include: list[str] | None,
    exclude: list[str] | None,
    max_assets: int | None,
) -> Selection:
    """The selection that the flags describe; a moment without a zone is UTC."""
    moment = since if since is None or since.tzinfo else since.replace(tzinfo=UTC)
    return Selection(
        full=full,
        since=moment,
        include=tuple(include or ()),
        exclude=tuple(exclude or ()),
        max_assets=max_assets,
    )
