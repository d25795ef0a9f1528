"""The command line: thin commands over `pipelines`. Heavy libraries are imported inside the commands."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from jobs.settings import load_config, load_recipe, version
from schemas.card import Modality
from schemas.config import Config
from schemas.errors import Interrupted, UsageError
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
    context.default_map = dict.fromkeys(("embed", "search", "sql", "status"), flags)


@app.command()
def embed(
    context: typer.Context,
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE", help="folders, s3:// prefixes, files, or manifests")
    ],
    lake: Lake,
    corpus: Corpus = None,
    model: Model = None,
    recipe: Annotated[Path | None, typer.Option(help="YAML of the segmentation recipe")] = None,
    allow: Annotated[
        list[str] | None, typer.Option(help="a further root that manifests and documents may read")
    ] = None,
    vectors: Annotated[VectorType, typer.Option(help="type of the vector columns")] = "float32",
    ray_address: Annotated[str | None, typer.Option(help="a running Ray cluster, else a local one")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring a corpus of the lake up to date with its sources."""
    from jobs.display import open_display, show_report
    from operators.model.registry import DEFAULT_MODEL, resolve
    from operators.storage import Storage
    from pipelines.embed import EmbedJob

    config: Config = context.obj
    with open_display(quiet=as_json) as display:
        job = EmbedJob(
            sources=tuple(sources),
            lake=lake,
            spec=resolve(model or DEFAULT_MODEL),
            corpus=corpus or "corpus",
            recipe=load_recipe(recipe),
            vector_type=vectors,
            allow=tuple(allow or ()),
            storage=Storage(config.storage),
            config=config.run,
            ray_address=ray_address,
            progress=display,
        )
        try:
            report = job.run()
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; the same command continues the run") from error
    show_report(report, as_json)


@app.command()
def search(
    context: typer.Context,
    lake: Lake,
    text: Annotated[str | None, typer.Argument(metavar="[QUERY]", help="words")] = None,
    image: Annotated[list[str] | None, typer.Option(help="an image file, part of the query")] = None,
    audio: Annotated[list[str] | None, typer.Option(help="a sound file, part of the query")] = None,
    video: Annotated[list[str] | None, typer.Option(help="a video file, part of the query")] = None,
    corpus: Corpus = None,
    model: Model = None,
    width: Annotated[int | None, typer.Option(help="an MRL width of the lake, else the full one")] = None,
    modality: Annotated[Modality | None, typer.Option(help="only segments of this modality")] = None,
    where: Annotated[str | None, typer.Option(help="SQL over the table's columns")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="hits")] = 10,
    as_json: AsJson = False,
) -> None:
    """Find segments by words, images, sounds and videos, alone or fused into one query."""
    from jobs.display import show_hits
    from operators.storage import Storage
    from pipelines.query import Query, Searcher, model_of
    from pipelines.reader import LakeReader

    given = {"text": [text] if text else [], "image": image, "audio": audio, "video": video}
    parts = tuple((kind, value) for kind, values in given.items() for value in values or ())
    if not parts:
        raise UsageError("nothing to search for: give words, --image, --audio or --video")
    config: Config = context.obj
    reader = LakeReader.open(lake, Storage(config.storage))
    name, _ = reader.corpus(corpus)
    spec = model_of(reader, name, model)
    query = Query(parts=parts, width=width, modality=modality, where=where, limit=limit)
    show_hits(Searcher(reader, name, spec).search(query), as_json)


@app.command()
def sql(
    context: typer.Context,
    statement: Annotated[
        str, typer.Argument(metavar="SQL", help="one statement; views: the corpora, assets, ...")
    ],
    lake: Lake,
    as_json: AsJson = False,
) -> None:
    """Query the lake with DuckDB; the view named after a corpus is its live space."""
    from jobs.display import show_table
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.sql import query

    config: Config = context.obj
    show_table(query(LakeReader.open(lake, Storage(config.storage)), statement), as_json)


@app.command()
def status(context: typer.Context, lake: Lake, as_json: AsJson = False) -> None:
    """Show what the lake holds."""
    from jobs.display import show_status
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.status import status as count

    config: Config = context.obj
    show_status(count(LakeReader.open(lake, Storage(config.storage))), as_json)
