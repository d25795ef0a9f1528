"""Rewrite a table's fragments without changing its rows, and keep its indices complete. Nothing is published here."""

from __future__ import annotations

import lance
import lance.commit
from lance.indices import IndexConfig
from lance.optimize import Compaction, CompactionOptions

from operators.lake.indices import WORDS_MIB
from operators.lake.tables import Table, conflict

_TARGET_BYTES = 512 << 20
_LEAST_ROWS = 1 << 10
_MOST_ROWS = 1 << 20
_VECTOR_INDEX = "IVF"
_WORDS_INDEX = "Inverted"


def compact(table: Table, base: int) -> int:
    """A version with the rows of `base` in fewer, larger fragments, without much deleted, with full indices.

    Returns:
        the version; `base` when there is nothing to gain.

    Raises:
        ConflictError: another writer committed at the same time.
    """
    pinned = table.open(base)
    options: CompactionOptions = {"target_rows_per_fragment": target_rows(pinned)}
    if not Compaction.plan(pinned, options).num_tasks() and _indexed(pinned):
        return base
    head = table.on_top(base)
    started = int(head.version)
    if not _indexed(head):  # first: Lance does not merge a fragment in an index with one that is not
        head.optimize.optimize_indices()
        head = table.open()
    _rewrite(table, head, options)
    return alone(table, started)


def rewrite(table: Table, head: lance.LanceDataset, fragments: set[int]) -> int:
    """A version after `head` in which these fragments' deleted rows are in no data file and in no index.

    Raises:
        ConflictError: another writer committed at the same time.
    """
    others = [f.fragment_id for f in head.get_fragments() if f.fragment_id not in fragments]
    options: CompactionOptions = {
        "target_rows_per_fragment": target_rows(head),
        "materialize_deletions_threshold": 0.0,
        "excluded_fragment_ids": others,
    }
    _rewrite(table, head, options)
    rebuild_indices(table)
    return alone(table, int(head.version))


def rebuild_indices(table: Table) -> None:
    """Make every index again from the newest rows: an updated one still holds what was deleted."""
    for index in table.open().describe_indices():
        head = table.open()
        if index.index_type.startswith(_VECTOR_INDEX):
            head.optimize.optimize_indices(index_names=[index.name], retrain=True)
            continue
        parameters = {name: value for name, value in index.details.items() if value is not None}
        if index.index_type == _WORDS_INDEX:
            parameters["memory_limit"] = WORDS_MIB
        kind = IndexConfig(index_type=index.index_type.lower(), parameters=parameters)
        head.create_scalar_index(index.field_names[0], kind, name=index.name, replace=True)


def target_rows(dataset: lance.LanceDataset) -> int:
    """Rows of a fragment of about half a GiB: large enough to read well, small enough to rewrite at night."""
    fragments = [fragment.metadata for fragment in dataset.get_fragments()]
    rows = sum(fragment.physical_rows for fragment in fragments)
    size = sum(file.file_size_bytes or 0 for fragment in fragments for file in fragment.files)
    if not rows or not size:
        return _MOST_ROWS
    return max(_LEAST_ROWS, min(_MOST_ROWS, _TARGET_BYTES * rows // size))


def _rewrite(table: Table, head: lance.LanceDataset, options: CompactionOptions) -> None:
    try:
        Compaction.execute(head, options)
    except lance.commit.CommitConflictError as error:
        raise conflict(table.uri) from error


def _indexed(dataset: lance.LanceDataset) -> bool:
    rows = dataset.count_rows()
    return all(index.num_rows_indexed >= rows for index in dataset.describe_indices())


def alone(table: Table, base: int) -> int:
    """The newest version, if no run has committed since `base`: Lance rebases a compaction onto it, unasked."""
    version = int(table.open().version)
    if table.runs_between(base, version):
        raise conflict(table.uri)
    return version
