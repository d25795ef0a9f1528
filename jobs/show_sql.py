"""Results of SQL: a table for people; CSV, JSON, Parquet and Arrow for programs, in a file or a pipe."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from jobs.display import finite, show_table
from operators import disk
from operators.results import write_rows
from operators.storage import scheme
from schemas.errors import UsageError
from schemas.sql import RowFormat

if TYPE_CHECKING:
    from pipelines.sql import Result, Session

_ENDINGS: dict[str, RowFormat] = {".csv": "csv", ".json": "json", ".parquet": "parquet", ".arrow": "arrow"}
_SHOWN_ROWS = 1000
_INTERRUPT_SECONDS = 0.2
_SPOOLED_BYTES = 8 << 20


def row_format(form: RowFormat | None, output: str | None, as_json: bool) -> RowFormat:
    """The format that the flags ask for; the file's ending tells it where none is named.

    Raises:
        UsageError: the flags contradict each other, or the format cannot go where it is sent.
    """
    if as_json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} contradict each other")
    found = "json" if as_json else form or (_ENDINGS.get(Path(output).suffix) if output else "table")
    if found is None or (output and found == "table"):
        known = ", ".join(_ENDINGS.values())
        raise UsageError(f"cannot tell the format of {output}: give --format, one of {known}")
    if output and scheme(output) != "file":
        raise UsageError(f"--output {output}: write a local file")
    if output and (path := Path(disk.path(output))).exists() and (path.is_symlink() or not path.is_file()):
        raise UsageError(f"--output {output} is no file, or a link to one: name a file, or use a pipe")
    if found in ("parquet", "arrow") and output is None and sys.stdout.isatty():
        raise UsageError(f"{found} is not for a terminal: give --output FILE, or a pipe")
    return found


def show_results(results: Iterator[Result], form: RowFormat, output: str | None) -> None:
    """Every result in its turn; a file is there when all of it is written.

    Raises:
        UsageError: a further result for a format that holds one, or none at all.
    """
    if form == "table":
        for result in results:
            show_result(result)
        return
    with _sink(output) as sink:
        if form == "json":
            _write_json(results, sink)
            return
        number = 0
        for number, result in enumerate(results, 1):
            if number > 1:
                raise UsageError(
                    f"{form} holds one result, but a further statement returns rows: use json or table"
                )
            rows = result.rows(flat=form == "csv")
            write_rows(rows.batches, rows.schema, sink, form, pipe=output is None)
            sink.flush()
        if not number and output is not None:
            raise UsageError(f"no statement returns rows: {output} was not written")


def interruptible(session: Session, work: Callable[[], None]) -> None:
    """Do what runs statements so that a Ctrl-C stops them: DuckDB, in the main thread, would not look for one.

    Raises:
        KeyboardInterrupt: once the statement has ended.
    """
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        try:
            while not done.done():  # a signal that another thread got is seen between two waits
                wait([done], timeout=_INTERRUPT_SECONDS)
        except KeyboardInterrupt:
            while not done.done():  # a statement that was about to begin has missed the first one
                session.interrupt()
                wait([done], timeout=_INTERRUPT_SECONDS)
            raise
        done.result()


def show_result(result: Result) -> None:
    """The first rows as a table."""
    rows = result.rows()
    held: list[pa.RecordBatch] = []
    for batch in rows.batches:
        held.append(batch)
        if sum(one.num_rows for one in held) > _SHOWN_ROWS:
            break
    table = pa.Table.from_batches(held, rows.schema)
    show_table(table.slice(0, _SHOWN_ROWS), as_json=False)
    if table.num_rows > _SHOWN_ROWS:
        print(f"(the first {_SHOWN_ROWS} rows: --format csv writes all of them)")


@contextmanager
def _sink(output: str | None) -> Iterator[BinaryIO]:
    if output is not None:
        with disk.replacing(disk.path(output)) as file:
            yield file
        return
    try:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        # What reads the pipe has enough; Python would flush once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write_json(results: Iterator[Result], sink: BinaryIO) -> None:
    """One document: `columns` and `rows` of the only result, else all of them as `results`."""
    with tempfile.SpooledTemporaryFile(
        _SPOOLED_BYTES
    ) as spool:  # an error midway must leave no half document
        count = 0
        for result in results:
            spool.write(b", " if count else b"")
            _write_document(result, spool)
            count += 1
        spool.seek(0)
        if not count:
            spool.write(b'{"columns": [], "rows": []}')
            spool.seek(0)
        sink.write(b'{"results": [' if count > 1 else b"")
        shutil.copyfileobj(spool, sink)
        sink.write(b"]}\n" if count > 1 else b"\n")


def _write_document(result: Result, spool: tempfile.SpooledTemporaryFile[bytes]) -> None:
    rows = result.rows()
    spool.write(f'{{"columns": {json.dumps(rows.schema.names)}, "rows": ['.encode())
    first = True
    for batch in rows.batches:
        for row in batch.to_pylist():
            text = json.dumps(finite(row), default=str, allow_nan=False)
            spool.write((text if first else f", {text}").encode())
            first = False
    spool.write(b"]}")
