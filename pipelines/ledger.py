"""The exactly-once ledger of a run: begin on pinned versions, resume by receipts, reconcile, publish once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from operators.lake.layout import Layout, prepared_name
from operators.lake.log import CatalogLog
from operators.lake.receipts import Receipts
from operators.lake.tables import Table
from operators.storage import Storage
from pipelines.carry import Carrier
from pipelines.corpus_tables import create, emptied, widen
from pipelines.prepared import Changes, Media, kept_before, stale
from pipelines.runlog import LOGGER
from schemas.catalog import Catalog, Opened, Published
from schemas.corpus import Backfill, Corpus, SpaceState
from schemas.errors import ModelError, UsageError
from schemas.space import Space
from schemas.tables import ASSETS, MEDIA, METADATA_DIGEST, space_schema

_ERROR = ("error_stage", "error_code", "error_detail")


@dataclass(frozen=True, slots=True)
class Ledger:
    """One corpus of a lake, opened for a run: the catalog entry it is based on, and its two tables."""

    corpus: str
    space: Space
    log: CatalogLog
    base: Catalog

    @classmethod
    def begin(
        cls,
        lake: str,
        corpus: str,
        space: Space,
        metadata: list[pa.Field],
        storage: Storage,
        backfill: Backfill | None = None,
        keep: bool = False,
    ) -> Ledger:
        """Open a space of a corpus for a run; its tables are created, or widened by new metadata columns.

        The space is the live one, or with a `backfill` one beside it. With `keep` there is a table for its prepared
        media.

        Raises:
            ModelError: the corpus' live space is another one.
            UsageError: a metadata column has another type than in the lake; or the space beside is the live one.
        """
        log = CatalogLog(Layout(lake), storage)
        base = log.read()
        if backfill is None:
            check_space(base, corpus, space, lake)
        else:
            _check_beside(base, corpus, space)
        ledger = cls(corpus, space, log, base)
        known = base.corpora[corpus].spaces.get(space.id) if corpus in base.corpora else None
        if known is not None and known.run_id is not None:
            ledger.space_table.tag_live(known.version)
        opened = ledger._open(known, metadata, backfill, keep)
        return ledger if opened is None else cls(corpus, space, log, log.append(base, opened))

    @property
    def entry(self) -> Corpus:
        """The corpus as this run found it."""
        return self.base.corpora[self.corpus]

    @property
    def state(self) -> SpaceState:
        """The run's space as this run found it."""
        return self.entry.spaces[self.space.id]

    @property
    def space_table(self) -> Table:
        """The table of the run's space."""
        return Table(self.log.layout.space(self.corpus, self.space.id), self.log.storage)

    @property
    def assets_table(self) -> Table:
        """The table of what became of each asset in the run's space."""
        return Table(self.log.layout.assets(self.corpus, self.space.id), self.log.storage)

    @property
    def media(self) -> Media:
        """The prepared media of the space's recipe."""
        name = prepared_name(self.space.recipe)
        return Media(self._media(name), self.entry.prepared.get(name))

    def media_changes(
        self, staged: list[str], kept: pl.Series, replaced: list[str], assets: pa.Table, beside: bool
    ) -> Changes:
        """What a run's commit changes in the prepared media of every recipe.

        Args:
            staged: fragments for those of the space's recipe.
            kept: URIs of the assets in them.
            replaced: as in `commit`.
            assets: as in `commit`.
            beside: whether the space is beside the live one, whose runs decide what a corpus holds.
        """
        own, gone = prepared_name(self.space.recipe), {}
        for name, version in self.entry.prepared.items():
            heads = Media(self._media(name), version).heads()
            uris = [] if beside else stale(heads, replaced, assets)
            gone[name] = [*uris, *kept_before(heads, kept)] if name == own else uris
        return Changes(staged, gone)

    def _media(self, name: str) -> Table:
        return Table(self.log.layout.prepared(self.corpus, name), self.log.storage)

    @property
    def space_version(self) -> int:
        """The version of the space that readers see now."""
        return self.state.version

    def schema(self) -> pa.Schema:
        """The space's Arrow schema as it is in the lake, the user's columns included."""
        return self.space_table.open(self.space_version).schema

    def stored(self) -> Space:
        """The space with the widths that its table has now."""
        return Space.of(self.schema())

    def receipts(self, run_id: str) -> Receipts:
        """The receipts of a run."""
        return Receipts(self.log.layout.receipts(self.corpus, run_id), self.log.storage)

    def _open(
        self, known: SpaceState | None, metadata: list[pa.Field], backfill: Backfill | None, keep: bool
    ) -> Opened | None:
        prepared: dict[str, int] = {}
        name = prepared_name(self.space.recipe)
        if keep and (self.corpus not in self.base.corpora or name not in self.entry.prepared):
            prepared[name] = emptied(self._media(name), MEDIA)
        if known is None:
            space_version = create(self.space_table, space_schema(self.space, metadata))
            assets_version = create(self.assets_table, ASSETS)
        else:
            space_version = widen(self.space_table, known.version, metadata)
            assets_version = known.assets_version
            if not prepared and (space_version, backfill) in (
                (known.version, None),
                (known.version, known.backfill),
            ):
                return None
        return Opened(
            corpus=self.corpus,
            space=self.space.id,
            space_version=space_version,
            assets_version=assets_version,
            prepared=prepared,
            backfill=backfill,
            at=datetime.now(UTC),
        )

    def carrier(self, run_id: str) -> Carrier:
        """Copies vectors inside the space as this run found it."""
        return Carrier(
            space=self.space_table,
            space_version=self.space_version,
            assets=self.assets_table,
            assets_version=self.state.assets_version,
            run_id=run_id,
        )

    def noted(self, kept: pl.DataFrame) -> pa.Table:
        """The rows of assets that keep what they have, in the columns of `ASSETS` without `run_id`.

        Their etag stays the old one.

        Args:
            kept: `uri` and the error columns of the attempt that failed.
        """
        columns = [name for name in ASSETS.names if name != "run_id"]
        if kept.is_empty():
            return ASSETS.empty_table().select(columns)
        known = self.assets_table.open(self.state.assets_version).to_table(columns=columns)
        return (
            pl.DataFrame(pl.from_arrow(known))
            .update(kept.select("uri", *_ERROR), on="uri")
            .join(kept, on="uri", how="semi")
            .to_arrow()
        )

    def commit(
        self,
        run_id: str,
        assets: pa.Table,
        fragments: list[str],
        replaced: list[str],
        noted: Sequence[str] = (),
        media: Changes | None = None,
    ) -> Published:
        """Commit the run's rows in one version of each table. Nobody sees them before `announce`.

        An earlier attempt that died after its commit may have ended otherwise, with an asset that failed then and
        not now. So a commit is known by the run and by a digest of all outcomes, and one that differs is undone.

        Args:
            run_id: of the plan.
            assets: final rows, in the columns of `ASSETS` without `run_id`.
            fragments: staged for the space.
            replaced: URIs whose old rows go, of changed, updated and deleted assets.
            noted: URIs of which only the row in `assets` is another one.
            media: what changes in the prepared media.
        """
        attempt = f"{run_id}-{_digest(assets, replaced)}"
        space_version = self.space_table.commit(attempt, self.space_version, fragments, replaced)
        base = self.state.assets_version
        assets_version = self.assets_table.landed(attempt, base)
        if assets_version is None:
            count = assets.num_rows
            rows = assets.append_column("run_id", pa.array([run_id] * count, pa.string()))
            staged = self.assets_table.stage(rows.select(ASSETS.names).cast(ASSETS)) if count else []
            assets_version = self.assets_table.commit(attempt, base, staged, [*replaced, *noted])
        return Published(
            corpus=self.corpus,
            space=self.space.id,
            space_version=space_version,
            assets_version=assets_version,
            prepared=self._commit_media(attempt, media or Changes()),
            run_id=run_id,
            at=datetime.now(UTC),
        )

    def _commit_media(self, attempt: str, media: Changes) -> dict[str, int]:
        own, changed = prepared_name(self.space.recipe), {}
        for name, base in self.entry.prepared.items():
            staged, gone = (media.staged if name == own else []), media.gone.get(name, [])
            key = hashlib.sha256("\n".join((attempt, *staged, *gone)).encode()).hexdigest()[:32]
            changed[name] = self._media(name).commit(key, base, staged, gone)
        return changed

    def announce(self, change: Published) -> None:
        """Move the catalog, the one visible step, and then the tag for direct readers.

        Raises:
            ConflictError: another run of this corpus was first.
        """
        self.log.append(self.base, change)
        try:
            self.space_table.tag_live(change.space_version)
        except OSError as error:
            # The run is published, and must not say otherwise; the next one finds the tag behind.
            LOGGER.warning("the tag of %s stays behind until the next run: %s", self.space_table.uri, error)


def _digest(assets: pa.Table, replaced: list[str]) -> str:
    """Of what decides the content of a commit: each asset's outcome, and what goes."""
    columns = ["uri", "content_hash", METADATA_DIGEST, "status", "error_code", "segments"]
    rows = pl.DataFrame(pl.from_arrow(assets.select(columns))).sort("uri")
    state = hashlib.sha256(rows.write_csv().encode())
    state.update("\n".join(sorted(replaced)).encode())
    return state.hexdigest()[:16]


def check_space(catalog: Catalog, corpus: str, space: Space, lake: str) -> None:
    """Refuse to mix vectors of two spaces in one corpus (I4).

    Raises:
        ModelError: names the corpus' space and the one asked for.
    """
    known = catalog.corpora.get(corpus)
    if known is not None and known.live != space.id:
        raise ModelError(
            f"corpus '{corpus}' in {lake} holds vectors of {known.live}; this model and recipe make {space.id}, "
            f"and vectors of two spaces are never mixed: use the same model and recipe or another --corpus, or "
            f"build a space beside it with `embedlake backfill`"
        )


def _check_beside(catalog: Catalog, corpus: str, space: Space) -> None:
    if corpus in catalog.corpora and catalog.corpora[corpus].live == space.id:
        raise UsageError(
            f"{space.id} is the live space of corpus '{corpus}': a backfill wants another model or recipe"
        )
