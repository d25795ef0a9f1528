"""`embedlake nightly`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.app import AsJson, app
from jobs.settings import load_nightly, load_recipe
from schemas.errors import UsageError
from schemas.nightly import Nightly, NightlyCorpus

if TYPE_CHECKING:
    from pipelines.embed import EmbedJob
    from pipelines.progress import Progress


@app.command()
def nightly(
    config: Annotated[Path, typer.Option("--config", help="YAML of the lake and its corpora")],
    only: Annotated[list[str] | None, typer.Option("--only", help="a corpus of the file, else all")] = None,
    as_json: AsJson = False,
) -> None:
    """Bring every corpus of a config file up to date: one line for cron."""
    from jobs.show_nightly import open_log, show_night
    from pipelines.nightly import NightJob

    loaded = load_nightly(config)
    names = {corpus.name for corpus in loaded.corpora}
    if unknown := sorted(set(only or ()) - names):
        raise UsageError(f"no corpus '{unknown[0]}' in {config}; it has: {', '.join(sorted(names))}")
    with open_log() as log:
        night = NightJob(config=loaded, job=lambda *of: _job(loaded, *of), watch=log).run(tuple(only or ()))
    show_night(night, as_json)
    raise typer.Exit(night.exit_code)


def _job(config: Nightly, corpus: NightlyCorpus, progress: Progress) -> EmbedJob:
    from operators.model.registry import DEFAULT_MODEL, resolve
    from operators.storage import Storage
    from pipelines.embed import EmbedJob

    return EmbedJob(
        sources=corpus.sources,
        lake=config.lake,
        spec=resolve(corpus.model or DEFAULT_MODEL),
        corpus=corpus.name,
        recipe=load_recipe(corpus.recipe),
        vector_type=corpus.vectors,
        allow=corpus.allow,
        selection=corpus.selection,
        policy=corpus.policy(config.policy),
        storage=Storage(config.storage),
        config=config.run,
        ray_address=config.ray_address,
        keep_prepared=config.keep_prepared if corpus.keep_prepared is None else corpus.keep_prepared,
        progress=progress,
    )
