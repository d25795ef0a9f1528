"""`embedlake backfill`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from jobs.app import Allow, AsJson, Corpus, KeepPrepared, Lake, RayAddress, RecipeName, Vectors, app
from jobs.settings import load_recipe
from schemas.config import Config
from schemas.errors import Interrupted, UsageError


@app.command()
def backfill(
    context: typer.Context,
    lake: Lake,
    corpus: Corpus = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="the new model; without it the backfill that is under way goes on"),
    ] = None,
    recipe: RecipeName = None,
    vectors: Vectors = "float32",
    allow: Allow = None,
    where: Annotated[
        str | None, typer.Option(help="SQL over assets and your columns: only those assets")
    ] = None,
    priority: Annotated[
        str | None, typer.Option(help="SQL to order by, over the same [mtime DESC]: what comes first")
    ] = None,
    batch_assets: Annotated[
        int, typer.Option(min=1, help="assets of one batch, published together")
    ] = 10_000,
    budget_gpu_hours: Annotated[
        float | None, typer.Option(min=1e-6, help="actor-hours of the model, the rest next time")
    ] = None,
    coverage_floor: Annotated[
        float | None, typer.Option(min=0, max=1, help="share of a batch that must get vectors [0.98]")
    ] = None,
    keep_prepared: KeepPrepared = False,
    wait_minutes: Annotated[
        float | None, typer.Option(min=0, help="how long to wait for a run of the corpus [0]")
    ] = None,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Build another model's space beside the live one, in batches, from the corpus' assets."""
    from jobs.display import open_display
    from jobs.show_spaces import show_backfill
    from operators.model.registry import DEFAULT_MODEL, resolve
    from operators.storage import Storage
    from pipelines.backfill import begun, continued, under_way
    from pipelines.embed import EmbedJob
    from pipelines.reader import LakeReader

    config: Config = context.obj
    limits = {
        "budget_gpu_hours": budget_gpu_hours,
        "coverage_floor": coverage_floor,
        "wait_minutes": wait_minutes,
    }
    reader = LakeReader.open(lake, Storage(config.storage))
    name, entry = reader.corpus(corpus)
    with open_display(quiet=as_json) as display:
        job = EmbedJob(
            sources=(),
            lake=lake,
            spec=resolve(model or DEFAULT_MODEL),
            corpus=name,
            recipe=load_recipe(recipe),
            vector_type=vectors,
            policy=config.policy.model_copy(update={k: v for k, v in limits.items() if v is not None}),
            storage=Storage(config.storage),
            config=config.run,
            ray_address=ray_address,
            keep_prepared=keep_prepared,
            progress=display,
        )
        if model is None:
            building = under_way(entry)
            if len(building) != 1:
                raise UsageError(f"{len(building)} spaces of corpus '{name}' are being built: name a --model")
            work = continued(job, reader, building[0])
        else:
            given = {"where": where, "priority": priority, "allow": tuple(allow or ()) or None}
            work = begun(job, model, reader, {k: v for k, v in given.items() if v is not None})
        try:
            report = replace(work, batch_assets=batch_assets).run()
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted; the same command continues the backfill") from error
    show_backfill(report, as_json)
