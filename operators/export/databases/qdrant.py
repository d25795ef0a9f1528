"""Rows as points of a Qdrant collection, on a server or in a local folder. Point ids are the lake's row ids."""

from __future__ import annotations

import os
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
    from qdrant_client import QdrantClient

_KEY = EXPORT_KEY.decode()
_PAGE = 10_000
_BATCH = 256
_TIMEOUT_S = 60


@contextmanager
def opened(target: str, name: str, options: Any = None) -> Iterator[Qdrant]:
    """A collection of the server at an http(s) URL, whose key is in `QDRANT_API_KEY`, or of a local folder.

    Raises:
        UsageError: the extra is missing, or the URL holds a password.
        LakeError: Qdrant refuses, or does not answer.
    """
    try:
        from qdrant_client import QdrantClient
    except ImportError as error:
        raise missing("qdrant") from error
    remote = scheme(target) in ("http", "https")
    if remote and "@" in target.partition("://")[2].partition("/")[0]:
        raise UsageError("a URL of Qdrant may hold no password: put the key into QDRANT_API_KEY")
    if not remote and scheme(normalize(target)) == "s3":
        raise UsageError("--format qdrant wants a local folder or the http(s) URL of a server")
    with refusals(f"Qdrant at {target}"):
        client = (
            QdrantClient(url=target, api_key=os.environ.get("QDRANT_API_KEY"), timeout=_TIMEOUT_S)
            if remote
            else QdrantClient(path=normalize(target))
        )
        with closing(client):
            yield Qdrant(client, name)


@dataclass(frozen=True, slots=True)
class Qdrant:
    """One collection; its metadata holds the stamp."""

    client: QdrantClient
    name: str

    def stamp(self) -> Stamp | None:
        """What the collection holds."""
        if not self.client.collection_exists(self.name):
            return None
        return parsed((self.client.get_collection(self.name).config.metadata or {}).get(_KEY), self.name)

    def create(self, schema: pa.Schema, stamp: Stamp) -> None:
        """An empty collection."""
        from qdrant_client import models

        if self.client.collection_exists(self.name):
            self.client.delete_collection(self.name)
        vectors = models.VectorParams(size=stamp.spec.widths[0], distance=models.Distance.COSINE)
        self.client.create_collection(
            self.name, vectors_config=vectors, metadata={_KEY: stamp.model_dump_json()}
        )

    def ids(self) -> Iterator[Ids]:
        """The points' ids, page by page."""
        offset: Any = None
        while True:
            points, offset = self.client.scroll(
                self.name, limit=_PAGE, offset=offset, with_payload=False, with_vectors=False
            )
            yield np.array([point.id for point in points], np.uint64)
            if offset is None:
                return

    def apply(self, added: Batches, gone: Ids, stamp: Stamp) -> None:
        """New points first, so that a changed asset is never without one."""
        from qdrant_client import models

        width = stamp.spec.widths[0]
        column = embedding_column(width)
        for ids, rows in added:
            for start in range(0, rows.num_rows, _BATCH):
                part = rows.slice(start, _BATCH)
                batch = models.Batch(
                    ids=ids[start : start + _BATCH].tolist(),
                    vectors=matrix(part.column(column), width).tolist(),
                    payloads=payloads(part, column),
                )
                self.client.upsert(self.name, points=batch, wait=True)
        for start in range(0, len(gone), _PAGE):
            chosen = models.PointIdsList(points=gone[start : start + _PAGE].tolist())
            self.client.delete(self.name, points_selector=chosen, wait=True)
        self.client.update_collection(self.name, metadata={_KEY: stamp.model_dump_json()})
