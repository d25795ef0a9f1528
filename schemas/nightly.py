"""The nightly's config file and its report: every corpus of a lake, brought up to date by one cron line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.card import Frozen
from schemas.config import Policy, RunConfig, Selection, StorageConfig
from schemas.corpus import check_corpus_name
from schemas.errors import ExitCode
from schemas.report import BackfillReport, RunReport
from schemas.space import VectorType

SEVERITY = (
    ExitCode.INTERRUPTED,
    ExitCode.FAILED,
    ExitCode.LAKE,
    ExitCode.MODEL,
    ExitCode.USAGE,
    ExitCode.SOURCE,
    ExitCode.COVERAGE,
    ExitCode.CONFLICT,
    ExitCode.OK,
)
"""Worst first: what a night's exit code is, of those of its corpora."""


def worst(codes: Iterable[ExitCode]) -> ExitCode:
    """The exit code of a night whose parts ended with these."""
    return min(codes, key=SEVERITY.index, default=ExitCode.OK)


class NightlyCorpus(Frozen):
    """One corpus, as the flags of `embed` would say it. A policy that is not given here is the file's own."""

    name: str
    sources: tuple[str, ...] = Field(min_length=1)
    model: str | None = None
    recipe: str | None = None
    vectors: VectorType = "float32"
    allow: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    max_assets: int | None = Field(default=None, gt=0)
    coverage_floor: float | None = Field(default=None, ge=0, le=1)
    max_deleted: float | None = Field(default=None, ge=0, le=1)
    budget_gpu_hours: float | None = Field(default=None, gt=0)
    backfill_gpu_hours: float | None = Field(
        default=None, gt=0, description="of each space that is being built beside the live one, a night"
    )

    keep_prepared: bool | None = Field(default=None, description="as the file says when None")

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, name: str) -> str:
        return check_corpus_name(name)

    @property
    def selection(self) -> Selection:
        """Which assets its run looks at."""
        return Selection(include=self.include, exclude=self.exclude, max_assets=self.max_assets)

    def policy(self, common: Policy) -> Policy:
        """The file's policy, with what this corpus says otherwise."""
        own = self.model_dump(
            include=set(Policy.model_fields) & set(type(self).model_fields), exclude_none=True
        )
        return common.model_copy(update=own)


class Upkeep(Frozen):
    """What is done for a corpus after its run: compaction, indices, and removal of what is older than this."""

    keep_days: float = Field(default=7, ge=0, description="days that old versions and dead runs stay")


class Nightly(Frozen):
    """The file of `embedlake nightly --config`. Relative paths in it start at the file's folder.

    `report` is a folder or prefix that gets each night's report as one JSON object. `maintenance: null` does none.
    """

    lake: str
    corpora: tuple[NightlyCorpus, ...] = Field(min_length=1)
    policy: Policy = Policy()
    maintenance: Upkeep | None = Upkeep()
    storage: StorageConfig = StorageConfig()
    run: RunConfig = RunConfig()
    ray_address: str | None = None
    keep_prepared: bool = Field(default=False, description="keep decoded media for the next model's backfill")
    report: str | None = None

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [corpus.name for corpus in self.corpora]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"corpus '{twice[0]}' is there twice")
        return self


class Kept(Frozen):
    """What upkeep did: fragments of all the corpus' tables before and after, old versions gone, bytes freed."""

    fragments_before: int
    fragments: int
    versions: int
    bytes: int


class CorpusNight(Frozen):
    """How one corpus fared. `report` is there when its run ended; `error` is one line for a person.

    `backfills` are of the spaces that are being built beside the live one.
    """

    corpus: str
    status: Literal["done", "failed", "not run"]
    exit_code: ExitCode = ExitCode.OK
    error: str | None = None
    report: RunReport | None = None
    maintenance: Kept | None = None
    backfills: tuple[BackfillReport, ...] = ()


class Night(Frozen):
    """A night's report: `embedlake nightly --json`. `exit_code` is the worst of the corpora's."""

    lake: str
    started_at: datetime
    finished_at: datetime
    exit_code: ExitCode
    corpora: tuple[CorpusNight, ...]
    error: str | None = None
