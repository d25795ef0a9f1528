"""Whether row ids of a table still mean the rows that they meant when an export was made of it."""

from __future__ import annotations

import hashlib

from operators.faults import Read, StorageFault
from operators.lake.log import CatalogLog
from pipelines.reader import LakeReader
from schemas.catalog import Catalog, Dropped
from schemas.export import Source


def source_of(reader: LakeReader, corpus: str, space: str) -> Source:
    """The state of the lake that a reader sees, by which a later export knows it again."""
    number = reader.catalog.number
    body = reader.storage.read(CatalogLog(reader.layout, reader.storage).uri(number))
    return Source(
        lake=reader.layout.lake,
        entry=number,
        digest=hashlib.sha256(body).hexdigest(),
        version=reader.catalog.corpora[corpus].spaces[space].version,
    )


def why_anew(reader: LakeReader, before: Source, corpus: str, space: str) -> str | None:
    """Why an export of `before` cannot be brought up to date row by row; None when it can.

    A row id is given once in the life of a table. The catalog's log tells whether it is the same table: the entry
    that the export was made at is still there, as it was, and nobody dropped the space since.
    """
    log = CatalogLog(reader.layout, reader.storage)
    numbers = range(before.entry, reader.catalog.number + 1)
    bodies = reader.storage.read_many([Read(log.uri(number)) for number in numbers])
    if not bodies or any(isinstance(body, StorageFault) for body in bodies):
        return (
            f"the lake's history no longer reaches back to its entry {before.entry}, which the target holds"
        )
    read = [body for body in bodies if not isinstance(body, StorageFault)]
    if hashlib.sha256(read[0]).hexdigest() != before.digest:
        return "the target holds an export of another lake"
    changes = [Catalog.model_validate_json(body).change for body in read[1:]]
    if any(isinstance(c, Dropped) and (c.corpus, c.space) == (corpus, space) for c in changes):
        return f"space {space} was dropped and made again"
    return None
