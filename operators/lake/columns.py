"""Drop or add the vector columns of a table without embedding anything again. Nothing is published here."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import lance
import lance.commit
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from lance.optimize import Compaction, CompactionTask

from operators.embed import prefix
from operators.lake.compaction import alone
from operators.lake.tables import Table, conflict
from schemas.space import embedding_column

_ROWS = 4096
_TASK: Any = CompactionTask  # its JSON is not in Lance's type hints


def drop_columns(table: Table, base: int, widths: Sequence[int]) -> int:
    """A version with the rows of `base` without the columns of these widths, whose bytes are in none of its files.

    Raises:
        ConflictError: another writer committed at the same time.
    """
    head = table.on_top(base)
    head.drop_columns([embedding_column(width) for width in widths])
    _rewrite(table, table.open())
    return alone(table, int(head.version))


def add_columns(table: Table, base: int, full: int, widths: Sequence[int]) -> int:
    """A version with the rows of `base` and a column for each of these widths, cut from the full one's vectors.

    Raises:
        ConflictError: another writer committed at the same time.
    """
    head = table.on_top(base)
    source = embedding_column(full)
    value = head.schema.field(source).type.value_type
    fields = [pa.field(embedding_column(width), pa.list_(value, width)) for width in widths]

    def cut(batch: pa.RecordBatch) -> pa.RecordBatch:
        vectors = batch.column(source)
        made = [prefix(matrix(vectors, full), f.type, vectors.is_valid().to_numpy(False)) for f in fields]
        return pa.RecordBatch.from_arrays(made, schema=pa.schema(fields))

    head.add_columns(cut, read_columns=[source], batch_size=_ROWS)
    return alone(table, int(head.version))


def column_bytes(dataset: lance.LanceDataset) -> int:
    """Bytes of the data files that a version needs."""
    files = (file for fragment in dataset.get_fragments() for file in fragment.metadata.files)
    return sum(file.file_size_bytes or 0 for file in files)


def matrix(vectors: pa.FixedSizeListArray, width: int) -> npt.NDArray[np.float32]:
    """float32 `[rows, width]`; the values of nulls are whatever lies below them."""
    start = vectors.offset * width
    values = vectors.values.slice(start, len(vectors) * width).to_numpy(zero_copy_only=False)
    return np.asarray(np.nan_to_num(values.astype(np.float32)).reshape(-1, width), np.float32)


def _rewrite(table: Table, head: lance.LanceDataset) -> None:
    """Write each fragment with a dropped column again; row ids stay, and so do the indices of other columns.

    Lance plans this only for fragments that it merges, so the fragments are put into a task of such a plan.
    """
    known = {i for field in head.lance_schema.fields() for i in _ids(field)}
    stale = [
        fragment.metadata
        for fragment in head.get_fragments()
        if any(not known.issuperset(file.fields) for file in fragment.metadata.files)
    ]
    options = _task_options(indexed=bool(head.describe_indices()))
    tasks = [
        {"task": {"fragments": [one.to_json()]}, "read_version": head.version, "options": options}
        for one in stale
    ]
    done = [_TASK.from_json(json.dumps(task)).execute(head) for task in tasks]
    try:
        Compaction.commit(head, done)
    except lance.commit.CommitConflictError as error:
        raise conflict(table.uri) from error


def _ids(field: Any) -> Iterator[int]:
    yield field.id()
    for child in field.children():
        yield from _ids(child)


def _task_options(*, indexed: bool) -> dict[str, Any]:
    """The options of a task as this version of Lance writes them, made from a plan for two rows in two files."""
    rows = pa.table({"row": [0, 1]})
    with tempfile.TemporaryDirectory() as folder:
        uri = f"{folder}/two"
        two = lance.write_dataset(rows, uri, max_rows_per_file=1, enable_stable_row_ids=True)
        if indexed:  # whether row ids are kept for an index is an option, too
            two.create_scalar_index("row", "BTREE")
        task: Any = Compaction.plan(lance.dataset(uri), {"target_rows_per_fragment": 1 << 30}).tasks[0]
        return dict(json.loads(task.json())["options"])
