"""Tables with float16 columns for engines that have no such type: they are read as float32, a batch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset


def singles(rows: pa.Table) -> pa.Table:
    """The table with its float16 columns and vectors as float32."""
    return rows.cast(_wide(rows.schema))


def singles_of(dataset: pyarrow.dataset.Dataset) -> pyarrow.dataset.Dataset:
    """The dataset with its float16 columns and vectors as float32; itself when it has none.

    Filters and columns go on to the dataset, so what a scan does not name is not read.
    """
    return dataset if dataset.schema == _wide(dataset.schema) else _Singles(dataset)


class _Singles(pyarrow.dataset.Dataset):
    """What an Arrow scan asks of a dataset: its schema, and scanners of some of its columns."""

    def __init__(self, dataset: pyarrow.dataset.Dataset) -> None:
        self._dataset = dataset

    @property
    def schema(self) -> pa.Schema:
        return _wide(self._dataset.schema)

    def scanner(self, **options: Any) -> _Scanner:
        return _Scanner(self._dataset.scanner(**options))


class _Scanner:
    def __init__(self, scanner: Any) -> None:
        self._scanner = scanner

    @property
    def projected_schema(self) -> pa.Schema:
        return _wide(self._scanner.projected_schema)

    def to_reader(self) -> pa.RecordBatchReader:
        schema = self.projected_schema
        return pa.RecordBatchReader.from_batches(schema, self._batches(schema))

    def _batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for batch in self._scanner.to_reader():
            yield batch.cast(schema)


def _wide(schema: pa.Schema) -> pa.Schema:
    return pa.schema([f.with_type(_single(f.type)) for f in schema], metadata=schema.metadata)


def _single(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_single(kind.value_type), kind.list_size)
    return kind
