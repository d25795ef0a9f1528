"""`embedlake export`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import typer

from jobs.app import AsJson, Corpus, Lake, Space, app
from schemas.config import Config
from schemas.errors import UsageError
from schemas.export import DType


class Format(StrEnum):
    """Where to."""

    PARQUET = "parquet"
    LANCEDB = "lancedb"
    QDRANT = "qdrant"
    CHROMA = "chroma"


@app.command()
def export(
    context: typer.Context,
    lake: Lake,
    to: Annotated[
        str, typer.Option(metavar="TARGET", help="folder, s3:// prefix, or http(s):// of a Qdrant server")
    ],
    kind: Annotated[Format, typer.Option("--format", help="what the target is")] = Format.PARQUET,
    corpus: Corpus = None,
    space: Space = None,
    width: Annotated[
        list[int] | None, typer.Option(help="only these MRL widths; a database gets the full one else")
    ] = None,
    dtype: Annotated[DType | None, typer.Option(help="type of the vectors in Parquet [float32]")] = None,
    partition: Annotated[
        Literal["modality"] | None, typer.Option(help="Parquet: a folder for each value")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="write everything again, whatever is there")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a copy of a corpus outside the lake up to date: only what changed since the last time is written."""
    from jobs.show_export import show_export, show_push
    from operators.storage import Storage
    from pipelines.export.parquet import export_parquet
    from pipelines.export.push import push
    from pipelines.export.spec import check_spec
    from pipelines.reader import LakeReader
    from pipelines.spaces import find_space
    from schemas.export import ExportSpec

    config: Config = context.obj
    storage = Storage(config.storage)
    reader = LakeReader.open(lake, storage)
    name, entry = reader.corpus(corpus)
    chosen = find_space(reader, name, space) if space else entry.live
    widths = tuple(width or ())
    spec = ExportSpec(
        corpus=name, space=chosen, widths=widths, dtype=dtype or DType.FLOAT32, partition=partition
    )
    if kind is Format.PARQUET:
        return show_export(export_parquet(reader, check_spec(reader, spec), to, storage, full=full), as_json)
    if dtype or partition:
        raise UsageError(f"--dtype and --partition belong to --format parquet, not to {kind}")
    return show_push(push(reader, kind.value, to, spec, storage, full=full), as_json)
