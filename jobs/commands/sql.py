"""`embedlake sql`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.app import AsJson, Corpus, Lake, Model, app
from schemas.config import Config
from schemas.errors import UsageError
from schemas.sql import RowFormat


@app.command()
def sql(
    context: typer.Context,
    lake: Lake,
    statement: Annotated[
        str | None,
        typer.Argument(metavar="[SQL]", help="a statement; without one they are read from the terminal"),
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="run the statements of a file")] = None,
    form: Annotated[RowFormat | None, typer.Option("--format", help="how rows are written [table]")] = None,
    output: Annotated[
        str | None, typer.Option("--output", help="the file that gets the rows, whole or not")
    ] = None,
    table: Annotated[
        list[str] | None,
        typer.Option("--table", metavar="NAME=PATH", help="a Parquet, CSV or JSON Lines file to join with"),
    ] = None,
    corpus: Corpus = None,
    model: Model = None,
    version: Annotated[
        int | None, typer.Option("--version", min=1, help="the lake as it was at this entry of the catalog")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Query the lake with DuckDB; the view named after a corpus is its live space.

    Beside DuckDB's functions there are embed('text'), embed_image('path'), cosine(a, b) and the table
    vector_search('corpus', 'text', k := 10).
    """
    from jobs.show_sql import interruptible, row_format, show_results
    from operators.storage import Storage
    from pipelines.reader import LakeReader
    from pipelines.sql import opened

    config: Config = context.obj
    chosen = row_format(form, output, as_json)
    text = _statements(statement, file)
    tables = dict(_named(one) for one in table or ())
    reader = LakeReader.open(lake, Storage(config.storage), version)
    with opened(reader, corpus=corpus, model=model, tables=tables, files=True) as session:
        if text is not None:
            return interruptible(session, lambda: show_results(session.run(text), chosen, output))
        from jobs.repl import converse

        if output or chosen not in ("table", "json", "csv"):
            raise UsageError("--output and binary formats want a statement: give one, or --file")
        return converse(session, chosen)


def _statements(statement: str | None, file: Path | None) -> str | None:
    """What is to run; None when a person is to be asked."""
    if statement is not None and file is not None:
        raise UsageError("give a statement or --file, not both")
    if statement is not None:
        return statement
    if file is not None:
        try:
            return file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read {file}: {error}") from error
    return None if sys.stdin.isatty() else sys.stdin.read()


def _named(given: str) -> tuple[str, str]:
    name, is_there, path = given.partition("=")
    if not is_there or not path:
        raise UsageError(f"--table wants NAME=PATH, not '{given}'")
    return name, path
