"""`embedlake search`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import Allow, AsJson, Corpus, Lake, Model, OfModality, Width, app
from schemas.config import Config
from schemas.errors import UsageError


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
    width: Width = None,
    modality: OfModality = None,
    where: Annotated[str | None, typer.Option(help="SQL over the table's columns")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="hits")] = 10,
    spaces: Annotated[
        str | None,
        typer.Option(
            metavar="OLD,NEW", help="search both spaces of a migration, as one: names, or beginnings"
        ),
    ] = None,
    new_model: Annotated[
        str | None, typer.Option(help="folder of NEW's model, when it is a local one; --model is OLD's")
    ] = None,
    rerank: Annotated[
        int, typer.Option(min=0, max=10_000, help="best hits of OLD to embed by NEW's model, with --spaces")
    ] = 0,
    bridge: Annotated[
        bool,
        typer.Option(help="with --spaces, search OLD by NEW's query, too; `compare` says whether it helps"),
    ] = False,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="rows that have the query's words count, too (RRF)")
    ] = False,
    by_asset: Annotated[
        bool, typer.Option("--by-asset", help="of each asset its best segment alone")
    ] = False,
    exact: Annotated[bool, typer.Option("--exact", help="compare every row, whatever is indexed")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="what each stage read, and how long")] = False,
    allow: Allow = None,
    as_json: AsJson = False,
) -> None:
    """Find segments by words, images, sounds and videos, alone or fused into one query."""
    from jobs.display import show_hits
    from operators.storage import Storage
    from pipelines.finding import Stage
    from pipelines.migration import MigrationSearcher
    from pipelines.query import Query, Searcher, model_of
    from pipelines.reader import LakeReader
    from pipelines.spaces import find_space

    given = {"text": [text] if text else [], "image": image, "audio": audio, "video": video}
    parts = tuple((kind, value) for kind, values in given.items() for value in values or ())
    if not parts:
        raise UsageError("nothing to search for: give words, --image, --audio or --video")
    config: Config = context.obj
    reader = LakeReader.open(lake, Storage(config.storage))
    name, _ = reader.corpus(corpus)
    query = Query(
        parts=parts,
        width=width,
        modality=modality,
        where=where,
        limit=limit,
        exact=exact,
        hybrid=hybrid,
        by_asset=by_asset,
    )
    if spaces is None:
        if rerank or new_model or bridge:
            raise UsageError("--rerank, --bridge and --new-model belong to --spaces OLD,NEW")
        searcher = Searcher(reader, name, model_of(reader, name, model))
        stages: list[Stage] | None = [] if explain else None
        return show_hits(searcher.search(query, stages), as_json, stages)
    if hybrid or by_asset or explain:
        raise UsageError("--hybrid, --by-asset and --explain belong to a search of one space")
    named = [find_space(reader, name, one) for one in spaces.split(",")]
    if len(named) != 2:
        raise UsageError(f"--spaces wants OLD,NEW: two spaces, not {len(named)}")
    halves = [
        Searcher(reader, name, model_of(reader, name, given, space), space)
        for space, given in zip(named, (model, new_model), strict=True)
    ]
    both = MigrationSearcher(reader, *halves, allow=tuple(allow or ()), bridge=bridge)
    return show_hits(both.search(query, rerank), as_json)
