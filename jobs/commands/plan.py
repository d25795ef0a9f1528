"""`embedlake plan`."""

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
    Lake,
    MaxAssets,
    Model,
    RecipeName,
    Since,
    Sources,
    Vectors,
    app,
    selection,
)
from jobs.settings import load_recipe
from schemas.config import Config


@app.command()
def plan(
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
    budget_gpu_hours: Annotated[
        float | None, typer.Option(min=1e-6, help="say how far so many actor-hours of the model go")
    ] = None,
    sample: Annotated[int, typer.Option(min=2, help="assets of each kind that are read, at most")] = 32,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="try the model here on the sample")] = False,
    tokens_per_second: Annotated[
        float | None,
        typer.Option(min=1e-6, help="rate of one embedding actor; else measured by earlier runs"),
    ] = None,
    usd_per_gpu_hour: Annotated[float | None, typer.Option(min=0, help="price of one actor's hour")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what `embed` would do and what it would cost; nothing is written."""
    from jobs.display import open_display
    from jobs.show_plan import show_plan
    from operators.model.registry import DEFAULT_MODEL, resolve
    from operators.storage import Storage
    from pipelines.embed import EmbedJob
    from pipelines.forecast import PlanJob

    config: Config = context.obj
    budget = {} if budget_gpu_hours is None else {"budget_gpu_hours": budget_gpu_hours}
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
            policy=config.policy.model_copy(update=budget),
            storage=Storage(config.storage),
            config=config.run,
            progress=display,
        )
        forecast = PlanJob(
            job=job,
            sample=sample,
            calibrate=calibrate,
            tokens_per_second=tokens_per_second,
            usd_per_hour=usd_per_gpu_hour,
        ).run()
    show_plan(forecast, as_json)
