"""`embedlake compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, app
from jobs.settings import load_yaml
from schemas.compare import GoldenQueries
from schemas.config import Config


@app.command()
def compare(
    context: typer.Context,
    old: Annotated[str, typer.Argument(metavar="OLD", help="a space, or a beginning of its name")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="the space that might be promoted")],
    lake: Lake,
    corpus: Corpus = None,
    golden: Annotated[
        Path | None, typer.Option(help="YAML: queries, each with `query` and the `expected` URIs")
    ] = None,
    old_model: Annotated[
        str | None, typer.Option(help="folder of OLD's model, when it is a local one")
    ] = None,
    new_model: Annotated[
        str | None, typer.Option(help="folder of NEW's model, when it is a local one")
    ] = None,
    sample: Annotated[int, typer.Option(min=2, help="assets that both hold, at most")] = 2_000,
    seed: Annotated[int, typer.Option(help="of the sample")] = 0,
    out: Annotated[Path | None, typer.Option(help="write the report to this file as HTML")] = None,
    as_json: AsJson = False,
) -> None:
    """Say whether to switch from one space to another; `promote` obeys the verdict."""
    from jobs.show_compare import page, show
    from operators.storage import Storage
    from pipelines import compare as work
    from pipelines.query import model_of
    from pipelines.reader import LakeReader
    from pipelines.spaces import find_space

    config: Config = context.obj
    reader = LakeReader.open(lake, Storage(config.storage))
    name, _ = reader.corpus(corpus)
    one, two = find_space(reader, name, old), find_space(reader, name, new)
    queries = load_yaml(golden, GoldenQueries).queries if golden else ()
    models = ((one, old_model), (two, new_model))
    specs = {space: model_of(reader, name, model, space) for space, model in models} if queries else {}
    found = work.compare(
        reader, name, one, two, gate=config.gate, golden=queries, specs=specs, sample=sample, seed=seed
    )
    if out is not None:
        out.write_text(page(found), encoding="utf-8")
    show(found, as_json)
