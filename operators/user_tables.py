"""A caller's own file as a table: its columns and rows are read when a query asks for them."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset
from pyarrow.fs import AwsStandardS3RetryStrategy, FileSystem, LocalFileSystem, S3FileSystem

from operators.faults import one_line
from operators.storage import Storage, explained, normalize, scheme
from schemas.errors import SourceError, UsageError

_FORMATS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json"}


def open_table(uri: str, storage: Storage) -> pyarrow.dataset.Dataset:
    """A Parquet, CSV or JSON Lines file, or a folder of such files that is named like one (`sales.parquet/`).

    Raises:
        UsageError: the name has no ending of these.
        SourceError: it cannot be read, or is not what its name says.
    """
    uri = normalize(uri)
    kind = next((kind for ending, kind in _FORMATS.items() if uri.lower().endswith(ending)), None)
    if kind is None:
        raise UsageError(f"cannot tell what {uri} is: a table's name ends in {', '.join(_FORMATS)}")
    fs, path = _filesystem(uri, storage)
    with explained(uri, SourceError):
        try:
            return pyarrow.dataset.dataset(path, format=kind, filesystem=fs)
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            hint = " (JSON has to have one object a line)" if kind == "json" else ""
            reason = one_line(str(error), 200)
            raise SourceError(f"{uri} cannot be read as {kind}{hint}: {reason}") from error


def _filesystem(uri: str, storage: Storage) -> tuple[FileSystem, str]:
    """Arrow's own filesystem of a URI, and the path in it.

    Not fsspec's: two scans whose reads have to wait for Python's lock can stop one another in DuckDB for ever.
    """
    if scheme(uri) != "s3":
        return LocalFileSystem(), uri
    kind, _, host = (storage.endpoint_url or "").rpartition("://")
    config = storage.config
    fs = S3FileSystem(
        anonymous=config.anonymous,
        region=storage.signing_region,
        endpoint_override=host or None,
        scheme=kind or "https",
        connect_timeout=config.timeout_seconds,
        request_timeout=config.timeout_seconds,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=config.attempts),
    )
    return fs, uri[5:]
