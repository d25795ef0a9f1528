"""`embedlake embed`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import (
    Allow,
    AsJson,
    Corpus,
    Exclude,
    Full,
    Include,
    KeepPrepared,
    Lake,
    MaxAssets,
    Model,
    RayAddress,
    RecipeName,
    Since,
    Sources,
    Vectors,
    app,
    selection,
)
from jobs.settings import load_recipe
from schemas.config import Config
from schemas.errors import Interrupted


@app.command()
def embed(
    context: typer.Context,
    sources: Sources,
    lake: Lake,
    corpus: Corpus = None,
    model: Model = None,
    recipe: RecipeName = None,
    allow: Allow = None,
    vectors: Vectors = "float32",
    full: Full = False,
    since: Since = None,
    include: Include = None,
    exclude: Exclude = None,
    max_assets: MaxAssets = None,
    keep_prepared: KeepPrepared = False,
    budget_gpu_hours: Annotated[
        float | None, typer.Option(min=1e-6, help="actor-hours of the model, the rest next time")
    ] = None,
    coverage_floor: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="share of the assets tried that must get vectors [0.98]"),
    ] = None,
    max_deleted: Annotated[
        float | None, typer.Option(min=0, max=1, help="share of the corpus that may be deleted at once [0.5]")
    ] = None,
    wait_minutes: Annotated[
        float | None, typer.Option(min=0, help="how long to wait for another run of the corpus [0]")
    ] = None,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Bring a corpus of the lake up to date with its sources."""
    from jobs.display import open_display, show_report
    from operators.model.registry import DEFAULT_MODEL, resolve
    from operators.storage import Storage
    from pipelines.embed import EmbedJob

    config: Config = context.obj
    given = {
        "budget_gpu_hours": budget_gpu_hours,
        "coverage_floor": coverage_floor,
        "max_deleted": max_deleted,
        "wait_minutes": wait_minutes,
    }
    policy = config.policy.model_copy(update={k: v for k, v in given.items() if v is not None})
    with open_display(quiet=as_json) as display:
        job = EmbedJob(
            sources=tuple(sources),
            lake=lake,
            spec=resolve(model or DEFAULT_MODEL),
            corpus=corpus or "corpus",
            recipe=load_recipe(recipe),
            vector_type=vectors,
            allow=tuple(allow or ()),
            selection=selection(full, since, include, exclude, max_assets),
            policy=policy,
            storage=Storage(config.storage),
            config=config.run,
            ray_address=ray_address,
            keep_prepared=keep_prepared,
            progress=display,
        )
        try:
            report = job.run()
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; the same command continues the run") from error
    show_report(report, as_json)
