"""What `embedlake compare OLD NEW` says, and the gate that `promote` obeys."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from schemas.card import Frozen


class Gate(Frozen):
    """Thresholds of a new space. `max_ndcg_drop` counts at every width, where there are golden queries."""

    min_coverage: float = Field(default=0.99, ge=0, le=1, description="assets that were looked at")
    min_embedded: float = Field(
        default=0.98, ge=0, le=1, description="of those of each modality, assets that have vectors"
    )
    max_not_finite: int = Field(default=0, ge=0)
    max_off_unit: int = Field(default=0, ge=0, description="sampled vectors whose norm is not 1")
    max_same_vector: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="share of sampled vectors that repeat one of another text or asset",
    )
    max_mean_cosine: float = Field(default=0.9, ge=-1, le=1)
    min_rank_share: float = Field(default=0.02, ge=0, le=1, description="effective rank, of min(width, rows)")
    min_overlap: float = Field(default=0.0, ge=0, le=1, description="of neighbours at the full width")
    max_ndcg_drop: float = Field(default=0.02, ge=0)


class Golden(Frozen):
    """A query that the team keeps, and the URIs that it should find."""

    query: str
    expected: tuple[str, ...] = Field(min_length=1)


class GoldenQueries(Frozen):
    """The YAML of `--golden`."""

    queries: tuple[Golden, ...] = Field(min_length=1)


class ModalityCoverage(Frozen):
    """Assets of one modality: embedded in the old space, and of them held and embedded by the new one."""

    modality: str
    old: int
    held: int
    embedded: int


class Health(Frozen):
    """Vectors of one width of a seeded sample. `effective_rank` is the exponential of the spectrum's entropy."""

    width: int
    sampled: int
    not_finite: int
    off_unit: int
    same_vector: float
    mean_cosine: float
    effective_rank: float


class Overlap(Frozen):
    """Share of the k nearest assets that both spaces have in common, with each width against its like by rank."""

    modality: str
    old_width: int
    new_width: int
    k: int
    sampled: int
    overlap: float


class GoldenScore(Frozen):
    """Golden queries in one space at one width: means over the queries."""

    space: str
    width: int
    queries: int
    ndcg_at_10: float
    recall_at_10: float


class HalfMoved(Frozen):
    """nDCG@10 of the golden queries in both spaces at once, as if half of what both hold were only in the old one.

    `bridged` is that with `--bridge`; None where two recipes have cut the spaces.
    """

    calibrated: float
    bridged: float | None

    @property
    def bridge_helps(self) -> bool:
        """Whether `search --spaces` should be given `--bridge`."""
        return self.bridged is not None and self.bridged > self.calibrated


class Mover(Frozen):
    """An asset whose neighbourhood changed most. Its `preview` are the first words of its text; `thumbnail` is a JPEG
    in base64 of what shows something and can be read."""

    uri: str
    preview: str
    thumbnail: str | None = None
    overlap: float
    old_neighbours: tuple[str, ...]
    new_neighbours: tuple[str, ...]


class SpaceCost(Frozen):
    """What the runs of a space came to, by their reports."""

    runs: int
    tokens: int
    actor_seconds: float
    bytes: int


class SpaceSummary(Frozen):
    """One of the two spaces."""

    space: str
    model: str
    widths: tuple[int, ...]
    segments: int
    version: int
    cost: SpaceCost
    health: tuple[Health, ...]


class Comparison(Frozen):
    """Two spaces of a corpus; `failures` are what the gate holds against the new one."""

    lake: str
    corpus: str
    seed: int
    at: datetime
    old: SpaceSummary
    new: SpaceSummary
    coverage: float
    coverage_by_modality: tuple[ModalityCoverage, ...]
    overlaps: tuple[Overlap, ...]
    golden: tuple[GoldenScore, ...]
    half_moved: HalfMoved | None
    movers: tuple[Mover, ...]
    gate: Gate
    failures: tuple[str, ...]
