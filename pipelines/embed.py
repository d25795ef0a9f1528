"""The main job: list, diff, plan, and run what is to be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl
import pyarrow as pa

from operators.lake.layout import Layout
from operators.lake.log import CatalogLog
from operators.model.contract import ModelSpec
from operators.prepared.store import Prepared
from operators.read import ReadAssets
from operators.sources.fetch import Fetcher
from operators.sources.listing import Listed, list_sources
from operators.storage import Storage, check_lake_uri
from pipelines.forget import forgotten_mask, tombstones
from pipelines.lease import held
from pipelines.plan import Plan, diff
from pipelines.progress import Progress, Silent
from pipelines.run import Clock, Run
from schemas.config import Policy, RunConfig, Selection
from schemas.corpus import check_corpus_name
from schemas.recipe import Recipe
from schemas.report import RunReport
from schemas.space import Space, VectorType


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedJob:
    """Bring one corpus of a lake up to date with its sources.

    With `keep_prepared` what decoding gives stays in the corpus, for a backfill to read instead of the originals.
    """

    sources: tuple[str, ...]
    lake: str
    spec: ModelSpec
    corpus: str = "corpus"
    recipe: Recipe = Recipe()
    vector_type: VectorType = "float32"
    allow: tuple[str, ...] = ()
    selection: Selection = Selection()
    policy: Policy = Policy()
    storage: Storage = Storage()
    config: RunConfig = RunConfig()
    ray_address: str | None = None
    keep_prepared: bool = False
    progress: Progress = field(default_factory=Silent)

    @property
    def space(self) -> Space:
        """The space that the job's vectors are of."""
        return Space(card=self.spec.card, recipe=self.recipe, vector_type=self.vector_type)

    def run(self) -> RunReport:
        """List, diff, embed what is new or changed, publish one version.

        Running it again on the same sources embeds nothing and publishes nothing; a run that died is
        continued by running it again.

        Raises:
            EmbedlakeError: see the classes in `schemas.errors`; nothing was published.
        """
        check_corpus_name(self.corpus)
        lake = check_lake_uri(self.lake)
        clock = Clock()
        log = CatalogLog(Layout(lake), self.storage)
        before = log.read().corpora.get(self.corpus)
        listed = self.listed(lake)
        wait_s = self.policy.wait_minutes * 60
        with held(lake, self.corpus, self.storage, "an embedding run", wait_s) as lease:
            # Another run may have published meanwhile, and have seen newer objects.
            if log.read().corpora.get(self.corpus) != before:
                listed = self.listed(lake)
            clock.lap("list")
            return Run.begin(self, lake, listed, clock).through(lease)

    def listed(self, lake: str) -> list[Listed]:
        """The sources' objects now.

        Raises:
            SourceError: as `operators.sources.listing.list_sources`.
        """
        self.progress.phase("list", ", ".join(self.sources))
        return list_sources(self.sources, self.storage, self.allow, lake)

    def plan(self, lake: str, listed: Sequence[Listed], listing: pa.Table, assets: pa.Table) -> Plan:
        """What a run would do.

        Args:
            lake: its URI.
            listed: the sources.
            listing: their objects, united.
            assets: the columns `DIFFED` of what the corpus holds.

        Raises:
            LakeError: what was forgotten cannot be read.
        """
        forgotten = forgotten_mask(lake, self.corpus, pl.Series(listing["uri"]), self.storage)
        return diff(listing, assets, [one.source for one in listed], self.selection, forgotten)

    def reader(self, grants: dict[str, tuple[str, ...]], prepared: Prepared | None = None) -> ReadAssets:
        """Reads the job's assets; `grants` are the roots that each source may read.

        Raises:
            LakeError: what was forgotten cannot be read.
        """
        fetcher = Fetcher(storage=self.storage, grants=grants, max_bytes=self.recipe.max_asset_bytes)
        return ReadAssets(
            fetcher=fetcher,
            spec=self.spec,
            recipe=self.recipe,
            forgotten=tombstones(check_lake_uri(self.lake), self.corpus, self.storage),
            block_bytes=self.config.block_bytes,
            limits=self.config.decode,
            keep=self.keep_prepared,
            prepared=prepared,
        )
