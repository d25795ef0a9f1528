"""Rows as records of a Chroma collection in a local folder. Record ids are the lake's row ids."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from operators.export.databases.contract import Batches, missing, parsed, payloads, refusals
from operators.export.row_ids import Ids
from operators.lake.columns import matrix
from operators.storage import normalize, scheme
from schemas.errors import UsageError
from schemas.export import EXPORT_KEY, Stamp
from schemas.space import embedding_column

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

_KEY = EXPORT_KEY.decode()
_PAGE = 10_000
_BATCH = 1000


@contextmanager
def opened(target: str, name: str, options: Any = None) -> Iterator[Chroma]:
    """A collection in a local folder.

    Raises:
        UsageError: the extra is missing, or the target is no folder.
        LakeError: Chroma refuses.
    """
    try:
        import chromadb
        from chromadb.config import Settings
    except ImportError as error:
        raise missing("chroma") from error
    folder = normalize(target)
    if scheme(folder) == "s3":
        raise UsageError("--format chroma wants a local folder")
    with refusals(f"Chroma at {folder}"):
        client: Any = chromadb.PersistentClient(folder, settings=Settings(anonymized_telemetry=False))
        with closing(client):
            yield Chroma(client, name)


@dataclass(frozen=True, slots=True)
class Chroma:
    """One collection; its metadata holds the stamp. The text is the record's document."""

    client: ClientAPI
    name: str

    def stamp(self) -> Stamp | None:
        """What the collection holds."""
        if self.name not in (one.name for one in self.client.list_collections()):
            return None
        return parsed((self._collection().metadata or {}).get(_KEY), self.name)

    def create(self, schema: pa.Schema, stamp: Stamp) -> None:
        """An empty collection."""
        if self.stamp() is not None:
            self.client.delete_collection(self.name)
        self.client.create_collection(
            self.name,
            metadata={_KEY: stamp.model_dump_json()},
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine"}},
        )

    def ids(self) -> Iterator[Ids]:
        """The records' ids, page by page."""
        collection, offset = self._collection(), 0
        while found := collection.get(include=[], limit=_PAGE, offset=offset)["ids"]:
            yield np.array(found, np.uint64)
            offset += len(found)

    def apply(self, added: Batches, gone: Ids, stamp: Stamp) -> None:
        """New records first, so that a changed asset is never without one."""
        collection, width = self._collection(), stamp.spec.widths[0]
        column = embedding_column(width)
        step = min(_BATCH, self.client.get_max_batch_size())
        for ids, rows in added:
            for start in range(0, rows.num_rows, step):
                part = rows.slice(start, step)
                told = payloads(part, column)
                collection.upsert(
                    ids=ids[start : start + step].astype(str).tolist(),
                    embeddings=matrix(part.column(column), width),
                    documents=[str(row.pop("text", "")) for row in told],
                    metadatas=[{name: _flat(value) for name, value in row.items()} for row in told],
                )
        for start in range(0, len(gone), step):
            collection.delete(ids=gone[start : start + step].astype(str).tolist())
        collection.modify(metadata={_KEY: stamp.model_dump_json()})

    def _collection(self) -> Any:
        return self.client.get_collection(self.name, embedding_function=None)


def _flat(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, list | dict) else value
