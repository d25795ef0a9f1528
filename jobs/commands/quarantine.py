"""`embedlake quarantine list | show | retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jobs.app import Allow, AsJson, Corpus, Lake, Model, RayAddress, RecipeName, Vectors, app
from jobs.settings import load_recipe
from schemas.card import Modality
from schemas.config import Config
from schemas.errors import ErrorCode, Interrupted, Stage

if TYPE_CHECKING:
    from pipelines.quarantine import Chosen

quarantine = typer.Typer(
    name="quarantine", help="Assets that got no vectors, why, and trying them again.", no_args_is_help=True
)
app.add_typer(quarantine)

Codes = Annotated[list[ErrorCode] | None, typer.Option("--code", help="only those with this error code")]
Stages = Annotated[list[Stage] | None, typer.Option("--stage", help="only those that failed in this stage")]
Modalities = Annotated[list[Modality] | None, typer.Option("--modality", help="only those of this modality")]
Uris = Annotated[list[str] | None, typer.Option("--uri", help="only URIs that fit this glob")]
SinceRun = Annotated[str | None, typer.Option("--since-run", help="only of this run and later ones")]


def _chosen(code: Codes, stage: Stages, modality: Modalities, uri: Uris, since_run: SinceRun) -> Chosen:
    """What the flags choose."""
    from pipelines.quarantine import Chosen

    return Chosen(
        codes=tuple(code or ()),
        stages=tuple(stage or ()),
        modalities=tuple(modality or ()),
        uris=tuple(uri or ()),
        since_run=since_run,
    )


@quarantine.command("list")
def show_list(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    code: Codes = None,
    stage: Stages = None,
    modality: Modalities = None,
    uri: Uris = None,
    since_run: SinceRun = None,
    as_json: AsJson = False,
) -> None:
    """List them, with their reasons."""
    from jobs.show_quarantine import show_quarantined
    from operators.storage import Storage
    from pipelines.quarantine import listed
    from pipelines.reader import LakeReader

    config: Config = context.obj
    reader = LakeReader.open(lake, Storage(config.storage))
    name, _ = reader.corpus(corpus)
    chosen = _chosen(code, stage, modality, uri, since_run)
    show_quarantined(listed(reader, name, chosen), as_json)


@quarantine.command()
def show(
    context: typer.Context,
    uri: Annotated[str, typer.Argument(metavar="URI", help="the asset, or a glob that fits it alone")],
    lake: Lake,
    corpus: Corpus = None,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one."""
    from jobs.show_quarantine import show_one
    from operators.storage import Storage
    from pipelines.quarantine import shown
    from pipelines.reader import LakeReader

    config: Config = context.obj
    reader = LakeReader.open(lake, Storage(config.storage))
    name, _ = reader.corpus(corpus)
    show_one(shown(reader, name, uri), as_json)


@quarantine.command()
def retry(
    context: typer.Context,
    lake: Lake,
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="as given to embed; else those that the assets came from"),
    ] = None,
    corpus: Corpus = None,
    model: Model = None,
    recipe: RecipeName = None,
    allow: Allow = None,
    vectors: Vectors = "float32",
    code: Codes = None,
    stage: Stages = None,
    modality: Modalities = None,
    uri: Uris = None,
    since_run: SinceRun = None,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Embed them again, whatever the reason was, and touch nothing else."""
    from jobs.display import open_display
    from jobs.show_quarantine import show_retried
    from operators.model.registry import DEFAULT_MODEL, resolve
    from operators.storage import Storage
    from pipelines.embed import EmbedJob
    from pipelines.quarantine import retry as run
    from pipelines.reader import LakeReader

    config: Config = context.obj
    storage = Storage(config.storage)
    reader = LakeReader.open(lake, storage)
    name, _ = reader.corpus(corpus)
    chosen = _chosen(code, stage, modality, uri, since_run)
    with open_display(quiet=as_json) as display:
        job = EmbedJob(
            sources=tuple(sources or ()),
            lake=lake,
            spec=resolve(model or DEFAULT_MODEL),
            corpus=name,
            recipe=load_recipe(recipe),
            vector_type=vectors,
            allow=tuple(allow or ()),
            # What fails again was without vectors before.
            policy=config.policy.model_copy(update={"coverage_floor": 0}),
            storage=storage,
            config=config.run,
            ray_address=ray_address,
            keep_prepared=config.keep_prepared,
            progress=display,
        )
        try:
            retried = run(job, reader, chosen)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; the same command continues the run") from error
    show_retried(retried, as_json)
