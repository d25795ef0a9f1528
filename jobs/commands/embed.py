"""`embedlake embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, Model, app
from jobs.settings import load_recipe
from schemas.config import Config
from schemas.errors import Interrupted
from schemas.space import VectorType


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
