"""Make the tables of a corpus, and widen them for new metadata."""

from __future__ import annotations

import pyarrow as pa

from operators.lake.files import remove_table
from operators.lake.tables import Table
from schemas.errors import LakeError, UsageError


def create(table: Table, schema: pa.Schema) -> int:
    """The version of a table that is new to the catalog, with every column of a schema.

    Raises:
        LakeError: it holds rows.
    """
    made = table.ensure(schema)
    if made.count_rows():
        raise LakeError(
            f"{table.uri} holds rows but the catalog does not know it: another run may be starting this corpus; "
            f"run again, or remove that folder if it is a leftover"
        )
    return widen(table, made.version, [f for f in schema if f.name not in made.schema.names])


def emptied(table: Table, schema: pa.Schema) -> int:
    """The version of an empty table; one that the catalog does not know holds at most what a cut removal has left."""
    made = table.ensure(schema)
    if made.count_rows():
        remove_table(table.storage, table.uri)
        made = table.ensure(schema)
    return int(made.version)


def widen(table: Table, version: int, metadata: list[pa.Field]) -> int:
    """The version of a table that has the metadata's columns, too: the given one where it has them all.

    Raises:
        UsageError: a column has another type there.
    """
    dataset = table.open(version)
    for field in metadata:
        index = dataset.schema.get_field_index(field.name)
        if index >= 0 and dataset.schema.field(index).type != field.type:
            raise UsageError(
                f"metadata column '{field.name}' is {field.type} in the manifest and "
                f"{dataset.schema.field(index).type} in the lake: cast or rename it in the manifest"
            )
    missing = [f.with_nullable(True) for f in metadata if f.name not in dataset.schema.names]
    if not missing:
        return version
    head = dataset if table.open().version == version else table.restore(version)
    head.add_columns(missing)
    return int(table.open().version)
