"""Build a space's indices, and measure on its own rows how far a search has to look in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from operators.lake.compaction import alone
from operators.lake.indices import default_kind, drop_indices, index_columns, index_vectors, indexed_columns
from operators.lake.log import CatalogLog
from operators.lake.tables import Table
from operators.storage import Storage, explained
from pipelines.finding import FEW
from pipelines.lease import Lease, held
from pipelines.reader import LakeReader
from pipelines.recall import RECALL, Truth, measured
from schemas.card import Frozen
from schemas.catalog import Catalog, Indexed
from schemas.corpus import Finder
from schemas.errors import LakeError, UsageError
from schemas.space import IndexKind, Space, embedding_column

LEAST_ROWS = FEW
"""Below it an index over vectors is not built unasked."""
LEAST_TRAINED = 256
"""Lance trains nothing on fewer rows."""
_NARROWEST = 128
"""A width below it is not searched while there is another: too many of its neighbours are others."""
Step = Callable[[str], None]


class Indexing(Frozen):
    """What was built for a space. Without a `finder` every row is compared with a query."""

    lake: str
    corpus: str
    space: str
    rows: int
    columns: tuple[str, ...]
    finder: Finder | None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexJob:
    """Indices over a space's vectors, words, modality and metadata, in one version that readers see at once.

    Args:
        lake: its URI.
        corpus: in which.
        space: its name.
        kind: of the index over vectors; `IVF_RQ` when None, and then only where there are rows enough.
        width: that is searched; the narrowest that reaches `recall` when None.
        recall: of the true nearest 10 rows, at least, where it can be reached.
        seed: of the rows that it is measured with.
        wait_s: how long to wait for a run that holds the corpus.
        step: is told what is being done.
    """

    lake: str
    corpus: str
    space: str
    kind: IndexKind | None = None
    width: int | None = None
    recall: float = RECALL
    seed: int = 0
    storage: Storage = Storage()
    wait_s: float = 0.0
    step: Step = lambda _: None

    def build(self) -> Indexing:
        """Build them, in place of those that are there.

        Raises:
            UsageError: the width is not in the space, or it has too few rows for the kind.
            ConflictError: another writer holds the corpus.
            LakeError: the lake cannot be read or written.
        """
        return self._held(self.build_held)

    def drop(self) -> Indexing:
        """Drop all of them.

        Raises:
            ConflictError: another writer holds the corpus.
            LakeError: the lake cannot be read or written.
        """
        return self._held(self._drop)

    def build_held(self, log: CatalogLog, lease: Lease) -> Indexing:
        """As `build`, by who holds the corpus."""
        base, table, version = self._base(log)
        head = table.on_top(version)
        self._check(Space.of(head.schema), head.count_rows())
        started = int(head.version)
        self.step("indexing words and columns")
        index_columns(head)
        finder = self._finder(table)
        return self._publish(log, base, table, alone(table, started), finder, lease)

    def _drop(self, log: CatalogLog, lease: Lease) -> Indexing:
        base, table, version = self._base(log)
        head = table.on_top(version)
        started = int(head.version)
        drop_indices(head, indexed_columns(head))
        return self._publish(log, base, table, alone(table, started), None, lease)

    def _held(self, act: Callable[[CatalogLog, Lease], Indexing]) -> Indexing:
        log = CatalogLog(LakeReader.open(self.lake, self.storage).layout, self.storage)
        with (
            explained(log.layout.lake, LakeError),
            held(log.layout.lake, self.corpus, self.storage, "an indexing", self.wait_s) as lease,
        ):
            return act(log, lease)

    def _base(self, log: CatalogLog) -> tuple[Catalog, Table, int]:
        base = log.read()
        state = base.corpora[self.corpus].spaces.get(self.space)
        if state is None:
            raise LakeError(f"no space '{self.space}' in corpus '{self.corpus}'")
        return base, Table(log.layout.space(self.corpus, self.space), self.storage), state.version

    def _check(self, space: Space, rows: int) -> None:
        if self.width is not None and self.width not in space.widths:
            known = ", ".join(map(str, space.widths))
            raise UsageError(f"width {self.width} is not in the space; choose one of {known}")
        width = self.width or space.card.dim
        if self.kind == "IVF_RQ" and default_kind(width) != self.kind:
            raise UsageError(f"IVF_RQ wants a width that 8 divides, and {width} is none: name another --kind")
        if self.kind is not None and rows < LEAST_TRAINED:
            raise UsageError(
                f"{self.kind} is trained on {LEAST_TRAINED} rows, and space {self.space} has {rows}: "
                f"leave --kind out, and every row is compared"
            )

    def _finder(self, table: Table) -> Finder | None:
        """The narrowest width whose index reaches the recall, or else the one that came nearest to it."""
        head = table.open()
        space, rows = Space.of(head.schema), head.count_rows()
        drop_indices(head, [embedding_column(width) for width in space.widths])
        if rows < LEAST_TRAINED or (self.kind is None and rows < LEAST_ROWS):
            return None
        self.step("finding the true neighbours of a sample")
        truth = Truth.of(head, space.card.dim, self.seed)
        finders: list[Finder] = []
        for width in [self.width] if self.width else _widths(space, self.kind):
            self.step(f"indexing width {width}")
            kind = self.kind or default_kind(width)
            index_vectors(table.open(), width, kind)
            self.step(f"measuring width {width}")
            finders.append(measured(table.open(), width, kind, truth, self.recall))
            if finders[-1].recall >= self.recall:
                break
        best = max(finders, key=lambda finder: finder.recall)
        drop_indices(table.open(), [embedding_column(one.width) for one in finders if one is not best])
        return best

    def _publish(
        self, log: CatalogLog, base: Catalog, table: Table, version: int, finder: Finder | None, lease: Lease
    ) -> Indexing:
        lease.check()
        at = datetime.now(UTC)
        change = Indexed(corpus=self.corpus, space=self.space, space_version=version, finder=finder, at=at)
        log.append(base, change)
        if base.corpora[self.corpus].spaces[self.space].run_id is not None:
            table.tag_live(version)
        made = table.open(version)
        return Indexing(
            lake=log.layout.lake,
            corpus=self.corpus,
            space=self.space,
            rows=made.count_rows(),
            columns=tuple(indexed_columns(made)),
            finder=finder,
            version=version,
        )


def _widths(space: Space, kind: IndexKind | None) -> list[int]:
    """Those that may be searched, the narrowest first."""
    wide = sorted(width for width in space.widths if width >= _NARROWEST) or [space.card.dim]
    return [width for width in wide if kind != "IVF_RQ" or default_kind(width) == kind]
