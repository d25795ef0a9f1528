"""Near-duplicates of a corpus: groups around representatives, as a table of the lake."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.grouping.kmeans import centres, nearest
from operators.grouping.stars import Cells, Stars, recall, stars
from operators.storage import Storage
from pipelines.grouping import Example, Request, SpaceRows, grouped
from pipelines.progress import Progress, Silent
from pipelines.reader import LakeReader
from pipelines.vectors import Matrix
from schemas.card import Frozen, Modality
from schemas.errors import UsageError
from schemas.groups import Deduplication
from schemas.tables import DUPLICATES

THRESHOLD = 0.95
EXHAUSTIVE_ROWS = 200_000
"""Up to so many different segments every one is compared with every representative."""
_CELL_ROWS = 4096
_PROBES = 4
_SAMPLE_BYTES = 256 << 20
_SAMPLE_A_CELL = 64
_ASKED = 256
_SHOWN = 10
_MEMBERS = 4


class DuplicateGroup(Frozen):
    """One group: so many rows, and some of them, the representative first."""

    group_id: str
    rows: int
    examples: tuple[Example, ...]


class Duplicates(Frozen):
    """What was found and published.

    How is said as in `schemas.groups.Deduplication`. `grouped_rows` of the rows are in `groups` groups;
    `redundant_rows` of those could go, all but the representatives, and `exact_rows` of these have the
    representative's content. `redundant_assets` are those of which every segment could go, `redundant_bytes` their
    sizes at their source.
    """

    lake: str
    corpus: str
    space: str
    space_version: int
    width: int
    modality: Modality | None
    threshold: float
    exhaustive: bool
    cells: int
    recall: float | None
    seed: int
    rows: int
    groups: int
    grouped_rows: int
    redundant_rows: int
    exact_rows: int
    redundant_assets: int
    redundant_bytes: int
    largest: tuple[DuplicateGroup, ...]
    catalog_entry: int


def dedup(
    lake: str,
    request: Request = Request(),
    threshold: float = THRESHOLD,
    storage: Storage = Storage(),
    *,
    wait_s: float = 0.0,
    progress: Progress | None = None,
    exhaustive_rows: int = EXHAUSTIVE_ROWS,
) -> Duplicates:
    """Group the near-duplicates of a space and publish them; an earlier table of them is replaced.

    Rows of the same segment id are one. The others go through `operators.grouping.stars` in the order of their URIs,
    so that of two equal assets the first keeps all its segments: exhaustively up to `exhaustive_rows` of them, with
    all their vectors in memory; beyond that each with its nearest k-means cells, from vectors in a temporary file,
    and the result says what share of the pairs that finds.

    Args:
        lake: its URI.
        request: which segments.
        threshold: the least cosine of a row with its representative, over 0, at most 1.
        storage: how to reach the lake.
        wait_s: how long to wait for a run that holds the corpus.
        progress: who watches.
        exhaustive_rows: see above.

    Raises:
        ConflictError: a run holds the corpus.
        LakeError: there is no such corpus or space, or it cannot be read or written.
        UsageError: an unknown width, a threshold out of range, no such rows, or no room for the temporary file.
    """
    if not 0 < threshold <= 1:
        raise UsageError(f"--threshold {threshold:g} is no cosine to group by: give one over 0, at most 1")
    watch = progress or Silent()
    with grouped(lake, request, storage, "a search for duplicates", wait_s, watch) as (writer, rows):
        watch.phase("group", f"{len(rows)} segments")
        found = _Found.of(rows, threshold, request.seed, exhaustive_rows)
        made = Deduplication(
            space=rows.space,
            space_version=rows.version,
            width=rows.width,
            modality=request.modality,
            rows=len(rows),
            seed=request.seed,
            threshold=threshold,
            exhaustive=found.cells is None,
            cells=found.cells or 1,
            recall=found.recall,
        )
        groups = found.table()
        entry = writer.publish(rows, groups, DUPLICATES, made)
    return _report(writer.reader, rows, groups, made, entry)


@dataclass(frozen=True, slots=True)
class _Found:
    """The stars among different segments, and of each row of the space which of those it is, int64 `[rows]`."""

    rows: _Unique
    stars: Stars
    cells: int | None
    recall: float | None

    @classmethod
    def of(cls, rows: SpaceRows, threshold: float, seed: int, exhaustive_rows: int) -> _Found:
        unique = _Unique.of(rows)
        if unique.count <= exhaustive_rows:
            vectors = np.empty((unique.count, rows.width), np.float32)
            unique.fill(vectors, np.arange(unique.count))
            return cls(unique, stars(vectors, threshold, Cells.one(unique.count)), None, None)
        order, cells = _cells(unique, seed)
        place = np.empty(unique.count, np.int64)
        place[order] = np.arange(unique.count)
        with _on_disk(unique.count, rows.width) as vectors:
            unique.fill(vectors, place)
            asked = np.random.default_rng(seed).choice(unique.count, min(_ASKED, unique.count), replace=False)
            share = recall(vectors, threshold, cells, asked)
            grouped = stars(vectors, threshold, cells)
        return cls(
            unique, Stars(order[grouped.leader[place]], grouped.score[place]), len(cells.starts) - 1, share
        )

    def table(self) -> pl.DataFrame:
        """The rows of groups of two or more, with the columns of `DUPLICATES` and `place`; large groups first."""
        rows, unique = self.rows.rows, self.rows.number
        leader = self.stars.leader[unique]
        sizes = np.bincount(leader, minlength=self.rows.count)[leader]
        leads = self.rows.places[leader]
        frame = rows.frame.with_columns(
            place=np.arange(len(rows)),
            group_id=rows.frame["segment_id"].gather(leads),
            score=self.stars.score[unique],
            exact=unique == leader,
            is_representative=leads == np.arange(len(rows)),
            group_rows=sizes.astype(np.int32),
        )
        return frame.filter(pl.col("group_rows") > 1).sort(
            ["group_rows", "group_id", "is_representative", "score", "place"],
            descending=[True, False, True, True, False],
        )


@dataclass(frozen=True, slots=True)
class _Unique:
    """The different segments of a space: the first row of each segment id.

    `number` [rows] is each row's, `places` [count] where the first row of each is in `rows.frame`.
    """

    rows: SpaceRows
    number: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]

    @classmethod
    def of(cls, rows: SpaceRows) -> _Unique:
        ids = rows.frame.select("segment_id").with_row_index("place")
        first = ids.select(pl.col("place").first().over("segment_id")).to_series().to_numpy()
        places, number = np.unique(first.astype(np.int64), return_inverse=True)
        return cls(rows, number, places)

    @property
    def count(self) -> int:
        return len(self.places)

    def batches(self) -> Iterator[tuple[npt.NDArray[np.int64], Matrix]]:
        """As `SpaceRows.batches`, of different segments by their numbers."""
        for places, batch in self.rows.batches():
            number = self.number[places]
            mine = self.places[number] == places
            yield number[mine], batch[mine]

    def fill(self, vectors: Matrix, place: npt.NDArray[np.int64]) -> None:
        """Write each segment's unit vector into the row of `vectors` [count, width] that `place` [count] has for it."""
        for number, batch in self.batches():
            vectors[place[number]] = batch


def _cells(unique: _Unique, seed: int) -> tuple[npt.NDArray[np.int64], Cells]:
    """The order [count] of different segments by their cells, in each as before, and the cells."""
    rows, count = unique.rows, -(-unique.count // _CELL_ROWS)
    most = min(_SAMPLE_BYTES // (4 * rows.width), max(count, _SAMPLE_A_CELL * count))
    drawn = rows.sample(most, seed)
    around = centres(rows.vectors(drawn), min(count, len(drawn)), seed)
    probes = np.empty((unique.count, min(_PROBES, len(around))), np.int32)
    for number, batch in unique.batches():
        probes[number] = nearest(batch, around, probes.shape[1])[0]
    order = np.argsort(probes[:, 0], kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(probes[:, 0], minlength=len(around)))])
    return order, Cells(starts, probes[order])


@contextmanager
def _on_disk(count: int, width: int) -> Iterator[Matrix]:
    """Room for vectors `[count, width]` in a temporary file."""
    size = 4 * count * width
    with tempfile.TemporaryFile(prefix="embedlake-") as file:
        try:
            # A sparse file on a full disk would end the process by a signal.
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            raise UsageError(
                f"{size / 1e9:.1f} GB of vectors do not fit into {tempfile.gettempdir()}: set TMPDIR to a larger "
                f"disk, or take a smaller --width"
            ) from error
        yield np.memmap(file, np.float32, "r+", shape=(count, width))


def _report(
    reader: LakeReader, rows: SpaceRows, groups: pl.DataFrame, made: Deduplication, entry: int
) -> Duplicates:
    redundant = groups.filter(~pl.col("is_representative"))
    columns = ["uri", "size", "segments"]
    assets = pl.DataFrame(pl.from_arrow(reader.assets(rows.corpus, rows.space).to_table(columns=columns)))
    whole = redundant.group_by("uri").len().join(assets, on="uri").filter(pl.col("len") == pl.col("segments"))
    representatives = groups.filter("is_representative")
    return Duplicates(
        lake=reader.layout.lake,
        corpus=rows.corpus,
        groups=representatives.height,
        grouped_rows=groups.height,
        redundant_rows=redundant.height,
        exact_rows=int(redundant["exact"].sum()),
        redundant_assets=whole.height,
        redundant_bytes=int(whole["size"].sum() or 0),
        largest=tuple(_group(rows, groups, key) for key in representatives["group_id"][:_SHOWN]),
        catalog_entry=entry,
        **made.model_dump(exclude={"kind"}),
    )


def _group(rows: SpaceRows, groups: pl.DataFrame, key: str) -> DuplicateGroup:
    members = groups.filter(pl.col("group_id") == key)
    some = members.head(_MEMBERS)
    examples = rows.examples(some["place"].to_numpy(), some["score"].to_numpy())
    return DuplicateGroup(group_id=key, rows=members.height, examples=tuple(examples))
