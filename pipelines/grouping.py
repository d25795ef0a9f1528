"""What finding duplicates and finding clusters share: the rows of a space in a fixed order, and publishing groups."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import lance
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.storage import Storage, check_lake_uri, explained
from pipelines.lease import Lease, held
from pipelines.locators import locate
from pipelines.progress import Progress
from pipelines.reader import LakeReader
from pipelines.spaces import find_space
from pipelines.vectors import Matrix, matrix, unit
from schemas.card import Frozen, Modality
from schemas.catalog import Grouped
from schemas.errors import LakeError, UsageError
from schemas.groups import Clustering, Deduplication
from schemas.space import embedding_column
from schemas.tables import LOCATOR

_ROWS = 8192
_ORDER = ["uri", "ordinal", "segment_id"]
_OFFSET = "_rowoffset"


class Example(Frozen):
    """One segment of a group, with its cosine to the representative or the centre."""

    uri: str
    where: str
    segment_id: str
    score: float


class Request(Frozen):
    """Which segments are grouped: of a corpus' space (None: the only corpus, the live space), at a width (None: the
    full one), of one modality (None: all).
    """

    corpus: str | None = None
    space: str | None = None
    width: int | None = None
    modality: Modality | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SpaceRows:
    """The rows of a space that have a vector, by URI and ordinal: where they lie in the table does not matter.

    `frame` has `uri`, `ordinal`, `segment_id`, `modality` and `_rowoffset`; it takes about 200 bytes a row.
    """

    corpus: str
    space: str
    version: int
    width: int
    table: lance.LanceDataset
    frame: pl.DataFrame
    places: npt.NDArray[np.int64]
    """Places in `frame` in the order of the table: int64 `[rows]`."""
    predicate: str

    @classmethod
    def read(cls, reader: LakeReader, request: Request) -> Self:
        """The rows that a request means.

        Raises:
            LakeError: there is no such corpus or space.
            UsageError: the space has no such width, or no such rows.
        """
        corpus, entry = reader.corpus(request.corpus)
        space = find_space(reader, corpus, request.space or entry.live)
        width = reader.space(corpus, space).width(request.width)
        table = reader.segments(corpus, space)
        predicate = f"{embedding_column(width)} IS NOT NULL"
        if request.modality:
            predicate += f" AND modality = '{request.modality.value}'"
        found = table.scanner(columns=[*_ORDER, "modality", _OFFSET], filter=predicate).to_table()
        frame = pl.DataFrame(pl.from_arrow(found)).sort(_ORDER)
        if not frame.height:
            kind = f"{request.modality} " if request.modality else ""
            raise UsageError(f"space {space} of corpus '{corpus}' has no {kind}segments with vectors")
        places = np.argsort(frame[_OFFSET].to_numpy())
        version = entry.spaces[space].version
        return cls(corpus, space, version, width, table, frame, places, predicate)

    def __len__(self) -> int:
        return self.frame.height

    def batches(self) -> Iterator[tuple[npt.NDArray[np.int64], Matrix]]:
        """Every row once, as it comes: places in `frame` `[n]`, and unit vectors `[n, width]`."""
        column, offsets = embedding_column(self.width), self.frame[_OFFSET].to_numpy()[self.places]
        scanner = self.table.scanner(
            columns=[column, _OFFSET], filter=self.predicate, batch_size=_ROWS, scan_in_order=False
        )
        for batch in scanner.to_batches():
            vectors = unit(matrix(pa.chunked_array([batch[column]]), self.width))
            yield self.places[np.searchsorted(offsets, batch[_OFFSET].to_numpy())], vectors

    def vectors(self, places: npt.NDArray[np.int64]) -> Matrix:
        """Unit vectors `[n, width]` of some rows."""
        column = embedding_column(self.width)
        return unit(matrix(self.take(places, [column])[column], self.width))

    def take(self, places: npt.NDArray[np.int64], columns: list[str]) -> pa.Table:
        """Columns of some rows, in their order; `[n]` places in `frame`."""
        offsets = self.frame[_OFFSET].gather(places).cast(pl.Int64)
        # Lance reads ascending offsets best.
        order = offsets.arg_sort()
        rows = self.table.take(offsets.gather(order).to_list(), columns=columns)
        back = np.empty(len(places), np.int64)
        back[order.to_numpy()] = np.arange(len(places))
        return rows.take(pa.array(back))

    def sample(self, most: int, seed: int) -> npt.NDArray[np.int64]:
        """Places of at most so many rows, ascending, drawn without replacement."""
        random = np.random.default_rng(seed)
        return np.sort(random.choice(len(self), min(most, len(self)), replace=False))

    def examples(self, places: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]) -> list[Example]:
        """Some rows for people, in their order."""
        names = [field.name for field in LOCATOR]
        rows = self.take(places, ["uri", "segment_id", *names]).to_pylist()
        return [
            Example(uri=row["uri"], where=locate(row), segment_id=row["segment_id"], score=float(score))
            for row, score in zip(rows, scores, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class GroupsWriter:
    """Writes a table of groups and makes it what readers see, in a corpus that this process holds."""

    reader: LakeReader
    lease: Lease

    def publish(
        self, rows: SpaceRows, groups: pl.DataFrame, schema: pa.Schema, made: Deduplication | Clustering
    ) -> int:
        """One new version of the table, with these rows alone, and one entry of the catalog.

        Returns:
            the number of the entry.

        Raises:
            ConflictError: another writer took the corpus over, or moved the space.
        """
        layout, storage = self.reader.layout, self.reader.storage
        content = groups.select(schema.names).to_arrow().cast(schema).replace_schema_metadata(made.metadata())
        table = Table(layout.groups(rows.corpus, rows.space, made.kind), storage)
        self.lease.check()
        table.ensure(content.schema)
        version = table.overwrite(content.to_reader())
        change = Grouped(
            corpus=rows.corpus, space=rows.space, group=made.kind, version=version, at=datetime.now(UTC)
        )
        self.lease.check()
        return CatalogLog(layout, storage).append(self.reader.catalog, change).number


@contextmanager
def grouped(
    lake: str, request: Request, storage: Storage, what: str, wait_s: float, watch: Progress
) -> Iterator[tuple[GroupsWriter, SpaceRows]]:
    """Hold a corpus for a grouping that is called `what`: the rows that the request means, and who publishes groups.

    Raises:
        ConflictError: a run holds the corpus.
        LakeError: there is no such lake, corpus or space, or it cannot be read or written.
        UsageError: as `SpaceRows.read`.
    """
    uri = Layout(check_lake_uri(lake)).lake
    corpus, _ = LakeReader.open(lake, storage).corpus(request.corpus)
    with explained(uri, LakeError), held(uri, corpus, storage, what, wait_s) as lease:
        # The lake as it is now that it is held.
        writer = GroupsWriter(LakeReader.open(lake, storage), lease)
        watch.phase("read", corpus)
        yield writer, SpaceRows.read(writer.reader, request)
