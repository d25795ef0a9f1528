"""What `embedlake plan` says before anything is spent: a diff, a sampled census, and what they would cost."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from schemas.card import Frozen, Modality


class Estimate(Frozen):
    """A number and its 95 % interval. All three are equal where everything was looked at."""

    value: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def rounded(self) -> Estimate:
        """The estimate in whole numbers."""
        return Estimate(value=round(self.value), low=math.floor(self.low), high=math.ceil(self.high))

    def scaled(self, factor: float) -> Estimate:
        """The estimate times a positive factor."""
        return Estimate(value=self.value * factor, low=self.low * factor, high=self.high * factor)


class ModalityCensus(Frozen):
    """What the planned assets of one modality would give. `sampled` assets of it were read."""

    modality: Modality
    sampled: int
    assets: Estimate
    bytes: Estimate
    segments: Estimate
    tokens: Estimate


class Unestimated(Frozen):
    """Assets that nothing is known of: larger than the census may read, or not reached in its time."""

    kind: str
    assets: int
    bytes: int


class Census(Frozen):
    """Planned assets, counted by a sample that went through the operator a run reads with.

    `moved` are expected to take the vectors of an embedded asset with the same bytes: they cost no tokens.
    `extrapolated` assets are larger than any that the sample may read; they count by the tokens a byte of the
    largest that it did read. `unestimated` ones count nowhere.
    """

    assets: int
    bytes: int
    seed: int
    sampled: int
    sampled_bytes: int
    seconds: float
    modalities: tuple[ModalityCensus, ...] = ()
    segments: Estimate = Estimate()
    tokens: Estimate = Estimate()
    moved: Estimate = Estimate()
    quarantined: dict[str, Estimate] = Field(default_factory=dict)
    extrapolated: int = 0
    unestimated: tuple[Unestimated, ...] = ()


class Rates(Frozen):
    """Tokens a second of one embedding actor: a GPU, or one CPU worker.

    `tokens_per_second` is by modality where the model was tried on each, else under `all`.
    """

    source: Literal["given", "calibrated", "measured"]
    tokens_per_second: dict[str, float]
    note: str

    def of(self, modality: str) -> float:
        """The rate of a modality; the slowest known one when it was not tried."""
        known = self.tokens_per_second
        return known.get(modality) or known.get("all") or min(known.values())


class Cost(Frozen):
    """`actor_hours` are hours of one embedding actor, so GPU-hours where the actors have GPUs."""

    actor_hours: Estimate
    usd: Estimate | None = None


class Skipped(Frozen):
    """Listed assets that the run would not embed, and why.

    `quarantined` are unchanged ones that failed before and would again, by error code; they are in `unchanged`.
    """

    unchanged: int
    excluded: int
    deferred: int
    updated: int
    quarantined: dict[str, int]


class Forecast(Frozen):
    """The whole plan of one run. `cost` is None when no rate is known; `warnings` are sentences for people."""

    lake: str
    corpus: str
    space: str
    model: str
    listed: int
    new: int
    changed: int
    deleted: int
    skipped: Skipped
    census: Census
    rates: Rates | None = None
    cost: Cost | None = None
    warnings: tuple[str, ...] = ()
