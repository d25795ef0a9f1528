"""Streams of rows as CSV, Parquet or Arrow IPC: one batch is held at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, BinaryIO, Literal

import pyarrow as pa

from operators.faults import one_line
from schemas.errors import UsageError

BinaryFormat = Literal["csv", "parquet", "arrow"]


def write_rows(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    sink: BinaryIO,
    form: BinaryFormat,
    *,
    pipe: bool = False,
) -> None:
    """Write the batches; Arrow's stream format to a `pipe`, its file format else.

    Raises:
        UsageError: a column's type is one that the format has not.
    """
    try:
        with _writer(schema, sink, form, pipe) as writer:
            for batch in batches:
                writer.write_batch(batch)
    except pa.ArrowNotImplementedError as error:
        reason = one_line(str(error), 200)
        raise UsageError(
            f"{form} cannot hold a column of the result, cast it to VARCHAR: {reason}"
        ) from error


def _writer(schema: pa.Schema, sink: BinaryIO, form: BinaryFormat, pipe: bool) -> Any:
    if form == "csv":
        from pyarrow.csv import CSVWriter

        return CSVWriter(sink, schema)
    if form == "parquet":
        from pyarrow.parquet import ParquetWriter

        return ParquetWriter(sink, schema)
    return pa.ipc.new_stream(sink, schema) if pipe else pa.ipc.new_file(sink, schema)
