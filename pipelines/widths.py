"""The widths of a space on the user's own data: what each keeps of the full one, and columns dropped or added."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from operators.lake.columns import add_columns, column_bytes, drop_columns
from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.storage import Storage, explained
from pipelines.lease import Lease, held
from pipelines.reader import LakeReader
from pipelines.vectors import matrix, nearest, unit
from schemas.card import Frozen
from schemas.catalog import Resized
from schemas.errors import LakeError, UsageError
from schemas.space import Space, embedding_column

K = 10
QUERIES = 200
GALLERY = 10_000
_SHORTLIST = 10
_GALLERY_BYTES = 256 << 20


class Width(Frozen):
    """One width of a space.

    `recall` is the share of the k nearest rows at the full width that are the k nearest at this one, too;
    `shortlist_recall` the share that is among the 10 k nearest, so that ranking those by the full width finds it.
    `bytes` are what its vectors take, or would take, before any encoding.
    """

    width: int
    stored: bool
    recall: float
    shortlist_recall: float
    bytes: int


class Widths(Frozen):
    """The widths of a space, the widest first, measured with seeded rows as queries among a seeded sample of rows."""

    lake: str
    corpus: str
    space: str
    rows: int
    bytes: int
    k: int
    queries: int
    gallery: int
    seed: int
    widths: tuple[Width, ...]


class Resizing(Frozen):
    """A change of the width columns. `bytes` are those of the data files that a reader of the version needs.

    Files of the version before go with the next maintenance that finds them old enough.
    """

    lake: str
    corpus: str
    space: str
    dropped: tuple[int, ...]
    added: tuple[int, ...]
    widths: tuple[int, ...]
    version: int
    bytes_before: int
    bytes: int


def measure(
    reader: LakeReader,
    corpus: str,
    space: str,
    *,
    further: Sequence[int] = (),
    k: int = K,
    queries: int = QUERIES,
    gallery: int = GALLERY,
    seed: int = 0,
) -> Widths:
    """Every width of the space and of its model's card beside the full one.

    Args:
        reader: of the lake.
        corpus: in which.
        space: its name.
        further: other widths to look at.
        k: neighbours.
        queries: rows whose neighbours are looked for, at most.
        gallery: rows among which, at most; fewer where their full vectors would not fit in 256 MiB.
        seed: of both samples.

    Raises:
        UsageError: the space has too few rows, or a further width is not below the full one.
    """
    made, table = reader.space(corpus, space), reader.segments(corpus, space)
    full, rows = made.card.dim, table.count_rows()
    _check_cuts(made, further)
    most = max(2, min(gallery, _GALLERY_BYTES // (4 * full)))
    if rows < 2:
        raise UsageError(f"space {space} has {rows} rows: nothing has neighbours in it")
    rng = np.random.default_rng(seed)
    drawn = np.sort(rng.choice(rows, min(most, rows), replace=False))
    column = embedding_column(full)
    vectors = matrix(table.take(drawn.tolist(), columns=[column])[column], full)
    asked = np.sort(rng.choice(len(vectors), min(queries, len(vectors)), replace=False))
    k = min(k, len(vectors) - 1)
    truth = nearest(vectors, asked, k)
    item = np.dtype(made.vector_type).itemsize
    measured = []
    for width in sorted({*made.widths, *made.card.widths, *further}, reverse=True):
        found = nearest(unit(vectors[:, :width]), asked, min(_SHORTLIST * k, len(vectors) - 1))
        measured.append(
            Width(
                width=width,
                stored=width in made.widths,
                recall=_shared(truth, found[:, :k]),
                shortlist_recall=_shared(truth, found),
                bytes=rows * width * item,
            )
        )
    return Widths(
        lake=reader.layout.lake,
        corpus=corpus,
        space=space,
        rows=rows,
        bytes=column_bytes(table),
        k=k,
        queries=len(asked),
        gallery=len(vectors),
        seed=seed,
        widths=tuple(measured),
    )


def resize(
    lake: str,
    corpus: str,
    space: str,
    *,
    drop: Sequence[int] = (),
    add: Sequence[int] = (),
    storage: Storage = Storage(),
    wait_s: float = 0.0,
) -> Resizing:
    """Drop or add width columns of a space in one catalog entry; nothing is embedded.

    Readers keep the version that they have opened. A run that died before starts anew.

    Args:
        lake: its URI.
        corpus: in which.
        space: its name.
        drop: widths that have a column; not the full one, from which the others can be made again.
        add: widths below the full one that have none.
        storage: how to reach the lake.
        wait_s: how long to wait for a run that holds the corpus.

    Raises:
        UsageError: such a width cannot be dropped or added.
        ConflictError: another writer holds the corpus.
        LakeError: the lake cannot be read or written.
    """
    reader = LakeReader.open(lake, storage)
    log = CatalogLog(reader.layout, storage)
    with (
        explained(reader.layout.lake, LakeError),
        held(reader.layout.lake, corpus, storage, "a change of widths", wait_s) as lease,
    ):
        return _resize(log, corpus, space, tuple(drop), tuple(add), lease)


def _resize(
    log: CatalogLog, corpus: str, space: str, drop: tuple[int, ...], add: tuple[int, ...], lease: Lease
) -> Resizing:
    base = log.read()
    if space not in base.corpora[corpus].spaces:
        raise LakeError(f"no space '{space}' in corpus '{corpus}'")
    state = base.corpora[corpus].spaces[space]
    table = Table(log.layout.space(corpus, space), log.storage)
    before = table.open(state.version)
    made = Space.of(before.schema)
    _check(made, drop, add)
    version = state.version
    if drop:
        version = drop_columns(table, version, drop)
    if add:
        version = add_columns(table, version, made.card.dim, add)
    after = table.open(version)
    widths = Space.of(after.schema).widths
    lease.check()
    change = Resized(
        corpus=corpus,
        space=space,
        space_version=version,
        assets_version=state.assets_version,
        widths=widths,
        at=datetime.now(UTC),
    )
    log.append(base, change)
    if state.run_id is not None:
        table.tag_live(version)
    return Resizing(
        lake=log.layout.lake,
        corpus=corpus,
        space=space,
        dropped=drop,
        added=add,
        widths=widths,
        version=version,
        bytes_before=column_bytes(before),
        bytes=column_bytes(after),
    )


def _check(made: Space, drop: Sequence[int], add: Sequence[int]) -> None:
    stored = ", ".join(map(str, made.widths))
    if not drop and not add:
        raise UsageError(f"nothing to drop and nothing to add; the space has widths {stored}")
    if made.card.dim in drop:
        raise UsageError(f"width {made.card.dim} is the full one, from which the others are cut: it stays")
    for width in drop:
        if width not in made.widths or width in add:
            raise UsageError(f"width {width} cannot be dropped; the space has {stored}")
    _check_cuts(made, add)
    for width in add:
        if width in made.widths:
            raise UsageError(f"width {width} cannot be added; the space has {stored}")


def _check_cuts(made: Space, widths: Sequence[int]) -> None:
    for width in widths:
        if not 0 < width <= made.card.dim:
            raise UsageError(f"width {width} cannot be cut from vectors of {made.card.dim}")


def _shared(truth: npt.NDArray[np.int64], found: npt.NDArray[np.int64]) -> float:
    return float(np.mean([np.isin(a, b).mean() for a, b in zip(truth, found, strict=True)]))
