"""Push a space into a vector database: new rows in, rows that the lake has no more out.

What a collection holds is asked of the collection itself, so an export that died is completed by the next one.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import numpy as np
import pyarrow as pa

from operators.export.databases.contract import Collection, Opener
from operators.export.row_ids import Ids, RowIdSet, difference, rows_of
from operators.export.vectors import exported
from operators.storage import Storage, is_within, normalize, scheme
from pipelines.export.history import source_of, why_anew
from pipelines.export.spec import check_spec
from pipelines.reader import LakeReader
from schemas.card import Frozen
from schemas.errors import UsageError
from schemas.export import DType, ExportSpec, Stamp, export_schema
from schemas.space import embedding_column

DATABASES = {
    "lancedb": "operators.export.databases.lancedb",
    "qdrant": "operators.export.databases.qdrant",
    "chroma": "operators.export.databases.chroma",
}


class PushedCollection(Frozen):
    """What was done to one collection. `anew` is why it was made anew, None when only changes were pushed."""

    collection: str
    width: int
    rows: int
    rows_added: int
    rows_removed: int
    anew: str | None


class Pushed(Frozen):
    """What a push did, collection by collection."""

    target: str
    lake: str
    corpus: str
    space: str
    version: int
    collections: tuple[PushedCollection, ...]


def push(
    reader: LakeReader,
    database: str,
    target: str,
    spec: ExportSpec,
    storage: Storage = Storage(),
    *,
    full: bool = False,
) -> Pushed:
    """Bring the collections `<corpus>_<width>` up to date with a space, as `reader` sees it.

    Args:
        reader: of the lake.
        database: one of `DATABASES`.
        target: where it is: a folder, for LanceDB also an `s3://` prefix, for Qdrant also an http(s) URL.
        spec: corpus, space and widths; the full one when it names none. A database gets the vectors' own type.
        storage: how to reach a LanceDB.
        full: make the collections anew.

    Raises:
        UsageError: a collection holds something else, an extra is missing, the space lacks a width, or the target lies
            in the lake.
        LakeError: the lake cannot be read or the database not be written.
    """
    if scheme(target) not in ("http", "https") and is_within(normalize(target), reader.layout.lake):
        raise UsageError(f"{target} lies in the lake: name a target outside of it")
    space = reader.space(spec.corpus, spec.space)
    named = spec.model_copy(
        update={"widths": spec.widths or space.widths[:1], "dtype": DType(space.vector_type)}
    )
    source = source_of(reader, spec.corpus, spec.space)
    opener: Opener = import_module(DATABASES[database]).opened
    done = []
    for width in check_spec(reader, named).widths:
        one = Stamp(spec=named.model_copy(update={"widths": (width,)}), source=source)
        with opener(target, f"{spec.corpus}_{width}", storage) as collection:
            done.append(_bring(reader, collection, f"{spec.corpus}_{width}", one, full))
    return Pushed(
        target=target,
        lake=source.lake,
        corpus=spec.corpus,
        space=spec.space,
        version=source.version,
        collections=tuple(done),
    )


def _bring(
    reader: LakeReader, collection: Collection, name: str, stamp: Stamp, full: bool
) -> PushedCollection:
    spec = stamp.spec
    table = reader.segments(spec.corpus, spec.space)
    schema = export_schema(table.schema, reader.space(spec.corpus, spec.space), spec)
    anew = _why_anew(reader, collection.stamp(), name, spec, full)
    if anew is not None:
        collection.create(schema, stamp)
    held = RowIdSet()
    for ids in collection.ids():
        held.add(ids)
    lacking = difference(table, held)
    gone = [ids[~lacking.now.has(ids)] for ids in collection.ids()]
    going = np.concatenate([np.empty(0, np.uint64), *gone])
    columns = [column for column in table.schema.names if column in schema.names]

    pushed = 0

    def added() -> Iterator[tuple[Ids, pa.RecordBatch]]:
        nonlocal pushed
        for ids, rows in rows_of(lacking.fragments, columns, held):
            there = rows.column(embedding_column(spec.widths[0])).is_valid()
            pushed += there.true_count
            yield ids[there.to_numpy(False)], exported(rows.filter(there), schema, spec)

    collection.apply(added(), going, stamp)
    return PushedCollection(
        collection=name,
        width=spec.widths[0],
        rows=sum(len(ids) for ids in collection.ids()),
        rows_added=pushed,
        rows_removed=len(going),
        anew=anew,
    )


def _why_anew(reader: LakeReader, held: Stamp | None, name: str, spec: ExportSpec, full: bool) -> str | None:
    if held is None:
        return "the collection was not there"
    if full:
        return "--full"
    if held.spec != spec:
        raise UsageError(
            f"collection '{name}' holds space {held.spec.space} ({held.spec.dtype}), not {spec.space} ({spec.dtype}): "
            f"name another target, or --full to replace it"
        )
    return why_anew(reader, held.source, spec.corpus, spec.space)
