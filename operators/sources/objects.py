"""Rows of the `LISTING` table, gathered into Arrow batches: no Python object lives on for each asset."""

from __future__ import annotations

import pyarrow as pa

from schemas.tables import LISTING, TIMESTAMP

_BATCH_ROWS = 1 << 16


class Rows:
    """The objects of one source in the order that they are added in."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.batches: list[pa.RecordBatch] = []
        self._clear()

    def _clear(self) -> None:
        self._uris: list[str] = []
        self._sizes: list[int | None] = []
        self._etags: list[str | None] = []
        self._times: list[int | None] = []

    def add(self, uri: str, size: int | None, etag: str | None, time_ms: int | None) -> None:
        """Add an object; `time_ms` is its time of change in milliseconds since 1970."""
        self._uris.append(uri)
        self._sizes.append(size)
        self._etags.append(etag)
        self._times.append(time_ms)
        if len(self._uris) == _BATCH_ROWS:
            self.flush()

    def flush(self) -> None:
        """Let go of the Python objects of what was added."""
        count = len(self._uris)
        if not count:
            return
        columns = {
            "uri": pa.array(self._uris, pa.string()),
            "source": pa.repeat(self.source, count),
            "size": pa.array(self._sizes, pa.int64()),
            "etag": pa.array(self._etags, pa.string()),
            "mtime": pa.array(self._times, pa.int64()).cast(TIMESTAMP),
            "inline": pa.nulls(count, pa.large_binary()),
        }
        self.batches.append(
            pa.RecordBatch.from_arrays([columns[name] for name in LISTING.names], schema=LISTING)
        )
        self._clear()

    def table(self) -> pa.Table:
        """All that was added."""
        self.flush()
        return united(self.batches)


def united(batches: list[pa.RecordBatch]) -> pa.Table:
    """A `LISTING` table of the batches, in batches of 65,536 rows or more; empties the list as it goes."""
    batches.reverse()
    done: list[pa.RecordBatch] = []
    while batches:
        some, count = [], 0
        while batches and count < _BATCH_ROWS:
            some.append(batches.pop())
            count += some[-1].num_rows
        done += pa.Table.from_batches(some).combine_chunks().to_batches()
    return pa.Table.from_batches(done, schema=LISTING)
