"""`embedlake search`."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, Model, app
from schemas.card import Modality
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
