"""Rows of Parquet and Arrow files as text by the recipe's template, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from operators.decode.asset import Asset
from operators.decode.rows import Row, check_columns, row_segments
from operators.decode.sniff import ARROW_FILE
from operators.parts import Segment
from schemas.errors import AssetError, ErrorCode, from_storage
from schemas.recipe import RowsRecipe

_BATCH_ROWS = 256
_BUFFER_BYTES = 1 << 20


def decode_parquet(asset: Asset) -> Iterator[Segment]:
    """Rows of a Parquet file; columns of bytes are left out.

    Raises:
        AssetError: CORRUPT, ENCRYPTED, LIMIT for a row over `max_chars`, INVALID_DOCUMENT when the template wants
            a column that is missing, EMPTY without rows.
    """
    return row_segments(_parquet_rows(asset), asset)


def decode_arrow(asset: Asset) -> Iterator[Segment]:
    """Rows of an Arrow IPC file or stream; one record batch is in memory at a time.

    Raises:
        AssetError: as `decode_parquet`.
    """
    return row_segments(_arrow_rows(asset), asset)


def _parquet_rows(asset: Asset) -> Iterator[Row]:
    with _reported("Parquet"):
        asset.file.seek(0)
        if asset.file.read(4) == b"PARE":
            raise AssetError(ErrorCode.ENCRYPTED, "the Parquet file's footer is encrypted")
        file = pq.ParquetFile(asset.file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
        columns = _readable(file.schema_arrow, asset.recipe.rows)
        for batch in file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False):
            yield from batch.to_pylist()


def _arrow_rows(asset: Asset) -> Iterator[Row]:
    with _reported("Arrow"):
        asset.file.seek(0)
        source = pa.PythonFile(asset.file, mode="r")
        if asset.media.mime == ARROW_FILE:
            file = pa.ipc.open_file(source)
            schema = file.schema
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            stream = pa.ipc.open_stream(source)
            schema, batches = stream.schema, iter(stream)
        columns = _readable(schema, asset.recipe.rows)
        for batch in batches:
            # Offsets that lie outside the data would be followed.
            batch.validate(full=True)
            chosen = batch.select(columns)
            for at in range(0, len(chosen), _BATCH_ROWS):
                yield from chosen.slice(at, _BATCH_ROWS).to_pylist()


def _readable(schema: pa.Schema, layout: RowsRecipe) -> list[str]:
    """The columns that give text: those of the template, or all but those of bytes."""
    check_columns(schema.names, layout)
    if layout.columns is not None:
        return list(layout.columns)
    return [field.name for field in schema if not _is_bytes(field.type)]


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
    )


@contextmanager
def _reported(what: str) -> Iterator[None]:
    """Arrow's errors as AssetErrors; those of memory and of the storage below keep their own type."""
    try:
        yield
    except (AssetError, MemoryError):
        raise
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if from_storage(error):
            raise
        locked = "encrypt" in str(error).lower() or "decrypt" in str(error).lower()
        code = ErrorCode.ENCRYPTED if locked else ErrorCode.CORRUPT
        detail = " ".join(str(error).split())[:300]
        raise AssetError(code, f"{what}: {detail}") from error
