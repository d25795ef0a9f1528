"""Tables with float16 columns for engines that have no such type: they are read as float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lance
import pyarrow as pa
import pyarrow.dataset


def singles(rows: pa.Table) -> pa.Table:
    """The table with its float16 columns and vectors as float32."""
    return rows.cast(_wide(rows.schema))


def singles_of(dataset: lance.LanceDataset) -> pyarrow.dataset.Dataset:
    """The table with its float16 columns and vectors as float32; itself when it has none.

    Filters and columns go on to the table, so what a scan does not name is not read.
    """
    return dataset if dataset.schema == _wide(dataset.schema) else _Singles(dataset)


class _Singles(pyarrow.dataset.Dataset):  # type: ignore[misc]
    """What an Arrow scan asks of a dataset; Lance itself casts, for Python in a scan could stop DuckDB for ever."""

    def __init__(self, dataset: lance.LanceDataset) -> None:
        self._dataset = dataset

    @property
    def schema(self) -> pa.Schema:
        return _wide(self._dataset.schema)

    def scanner(self, columns: Sequence[str] | None = None, **options: Any) -> lance.LanceScanner:
        names = self.schema.names if columns is None else columns
        return self._dataset.scanner(columns={name: self._read(name) for name in names}, **options)

    def _read(self, name: str) -> str:
        kind, wide = self._dataset.schema.field(name).type, self.schema.field(name).type
        column = f"`{name}`"
        if kind == wide:
            return column
        size = f"FixedSizeList({wide.list_size}, Float32)" if pa.types.is_fixed_size_list(wide) else "Float32"
        return f"arrow_cast({column}, '{size}')"


def _wide(schema: pa.Schema) -> pa.Schema:
    return pa.schema([f.with_type(_single(f.type)) for f in schema], metadata=schema.metadata)


def _single(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_fixed_size_list(kind) and pa.types.is_float16(kind.value_type):
        return pa.list_(pa.float32(), kind.list_size)
    return kind
