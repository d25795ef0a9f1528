"""What a run says of itself: the JSON of `embedlake embed --json` and of the `runs` table."""

from __future__ import annotations

from datetime import datetime

from schemas.card import Frozen


class Counts(Frozen):
    """Assets of one run. For every finished run (I2)

    `listed + members = excluded + unchanged + updated + embedded + moved + quarantined + expanded + deferred`.

    `new` and `changed` were planned to be embedded. `quarantined` are also those that failed for a reason outside
    their bytes and keep the vectors of an earlier run. `moved` took the vectors of an asset with the same bytes,
    `updated` got other metadata and kept its vectors, `deferred` is left to the next run, `excluded` is out of the
    run's selection. `expanded` archives gave `members`, which are assets of their own.
    """

    listed: int = 0
    excluded: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    updated: int = 0
    deleted: int = 0
    embedded: int = 0
    moved: int = 0
    quarantined: int = 0
    expanded: int = 0
    members: int = 0
    deferred: int = 0
    segments: int = 0
    tokens: int = 0

    @property
    def ended(self) -> int:
        """Listed assets whose fate is known; `listed` when nothing was lost."""
        return (
            self.excluded
            + self.unchanged
            + self.updated
            + self.embedded
            + self.moved
            + self.quarantined
            + self.expanded
            + self.deferred
            - self.members
        )


class ActorSeconds(Frozen):
    """What one embedding actor of a run did up to its last block, in seconds that add up to that time.

    `loading` the model; in the `model`; at `storage` with nobody in the model: it looked up and wrote what it had;
    at `input`: it decodes, or waits for those that do.
    """

    loading: float = 0.0
    model: float = 0.0
    storage: float = 0.0
    input: float = 0.0


class RunReport(Frozen):
    """One run over one corpus. `published_version` is None when nothing had changed.

    `coverage` is the share of the assets tried that have vectors now, None when none was tried; `budget_spent`
    says that the run stopped at its budget.
    """

    run_id: str
    corpus: str
    lake: str
    space: str
    model: str
    started_at: datetime
    finished_at: datetime
    counts: Counts
    quarantine_reasons: dict[str, int]
    published_version: int | None
    resumed_segments: int = 0
    coverage: float | None = None
    budget_spent: bool = False
    actors: int = 0
    actor_seconds: tuple[ActorSeconds, ...] = ()
    seconds: dict[str, float]
    log: str


class BackfillReport(Frozen):
    """What one backfill process did to a space, over all its batches: `embedlake backfill --json`.

    `left` are assets of the live space that the space does not hold as they are now; `complete` says that it lacks
    nothing that the backfill wants. `seconds` and `actor_seconds` are of embedding.
    """

    corpus: str
    lake: str
    space: str
    model: str
    started_at: datetime
    finished_at: datetime
    batches: int = 0
    gave_way: int = 0
    embedded: int = 0
    moved: int = 0
    updated: int = 0
    quarantined: int = 0
    deleted: int = 0
    segments: int = 0
    tokens: int = 0
    actor_seconds: float = 0.0
    coverage: float = 0.0
    left: int = 0
    complete: bool = False
