"""Old space against new: whether to switch, in numbers; seeded, and by the assets that both hold."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.lake.files import find
from operators.lake.log import CatalogLog
from operators.model.contract import ModelSpec
from pipelines.golden import golden_scores, half_moved
from pipelines.query import Searcher, any_of
from pipelines.reader import LakeReader
from pipelines.spaces import coverage
from pipelines.thumbnails import thumbnails
from pipelines.vectors import Matrix, matrix, nearest, unit
from schemas.catalog import Compared
from schemas.compare import (
    Comparison,
    Gate,
    Golden,
    GoldenScore,
    Health,
    ModalityCoverage,
    Mover,
    Overlap,
    SpaceCost,
    SpaceSummary,
)
from schemas.corpus import Verdict
from schemas.errors import UsageError
from schemas.space import embedding_column
from schemas.tables import EMBEDDED

SAMPLE = 2_000
K = 10
_MOVERS = 12
_NEIGHBOURS = 5
_PREVIEW = 160
_UNIT = 1e-2


@dataclass(frozen=True, slots=True)
class _Sample:
    """Sampled assets of one space, by `uri`: each is the mean direction of its segments, a matrix for each width.

    `health` is of the same widths.
    """

    uris: list[str]
    modalities: list[str]
    previews: list[str]
    vectors: dict[int, Matrix]
    health: tuple[Health, ...]


def compare(
    reader: LakeReader,
    corpus: str,
    old: str,
    new: str,
    *,
    gate: Gate = Gate(),
    golden: Sequence[Golden] = (),
    specs: dict[str, ModelSpec] | None = None,
    sample: int = SAMPLE,
    seed: int = 0,
) -> Comparison:
    """Compare two spaces of a corpus and write the gate's verdict on `new` into the catalog.

    Args:
        reader: of the lake.
        corpus: in which.
        old: usually the live space.
        new: the other one.
        gate: thresholds.
        golden: queries with the URIs that they should find.
        specs: the model of each space, needed with golden queries.
        sample: assets that both hold, at most.
        seed: of the sample.

    Raises:
        UsageError: it is one space, or they have no asset in common.
        ConflictError: the space was dropped meanwhile.
    """
    if old == new:
        raise UsageError(f"{old} cannot be compared with itself")
    uris = _common(reader, corpus, (old, new), sample, seed)
    samples = {space: _sample(reader, corpus, space, uris) for space in (old, new)}
    overlaps, movers = _neighbours(samples[old], samples[new])
    pictures = thumbnails(reader, corpus, old, [mover.uri for mover in movers])
    searchers = (
        [Searcher(reader, corpus, (specs or {})[space], space) for space in (old, new)] if golden else []
    )
    comparison = Comparison(
        lake=reader.layout.lake,
        corpus=corpus,
        seed=seed,
        at=datetime.now(UTC),
        old=_summary(reader, corpus, old, samples[old]),
        new=_summary(reader, corpus, new, samples[new]),
        coverage=coverage(reader, corpus, new).share,
        coverage_by_modality=_by_modality(reader, corpus, old, new),
        overlaps=overlaps,
        golden=golden_scores(searchers, golden),
        half_moved=half_moved(searchers[0], searchers[1], golden, seed) if searchers else None,
        movers=tuple(_with_picture(mover, pictures.get(mover.uri)) for mover in movers),
        gate=gate,
        failures=(),
    )
    judged = comparison.model_copy(update={"failures": tuple(gate_failures(comparison))})
    states = reader.catalog.corpora[corpus].spaces
    verdict = Verdict(
        against=old,
        revision=states[new].revision,
        against_revision=states[old].revision,
        failures=judged.failures,
        at=judged.at,
    )
    change = Compared(corpus=corpus, space=new, verdict=verdict, at=judged.at)
    CatalogLog(reader.layout, reader.storage).append(reader.catalog, change)
    return judged


def _assets(reader: LakeReader, corpus: str, space: str) -> pl.DataFrame:
    columns = ["uri", "size", "etag", "modality", "status"]
    return pl.DataFrame(pl.from_arrow(reader.assets(corpus, space).to_table(columns=columns)))


def _common(reader: LakeReader, corpus: str, spaces: tuple[str, str], most: int, seed: int) -> list[str]:
    one, two = (_assets(reader, corpus, s).filter(pl.col("status") == EMBEDDED) for s in spaces)
    both = one.join(two, on=["uri", "size", "etag"], how="semi", nulls_equal=True).sort("uri")["uri"]
    if both.is_empty():
        raise UsageError(f"{spaces[0]} and {spaces[1]} have no embedded asset in common: backfill first")
    return both.sample(min(most, len(both)), seed=seed).sort().to_list()


def _sample(reader: LakeReader, corpus: str, space: str, uris: list[str]) -> _Sample:
    """One vector an asset: two recipes cut it into other segments, so those cannot be compared one by one."""
    stored = reader.space(corpus, space).widths
    columns = ["uri", "modality", "ordinal", "text", *(embedding_column(w) for w in stored)]
    table = reader.segments(corpus, space).to_table(columns=columns, filter=any_of(uris))
    rows = pl.DataFrame(pl.from_arrow(table.select(["uri", "modality", "ordinal", "text"]))).with_row_index(
        "row"
    )
    first = rows.sort("uri", "ordinal").unique("uri", keep="first", maintain_order=True)
    owner = rows.join(first.with_row_index("asset").select("uri", "asset"), on="uri", maintain_order="left")
    counts = np.bincount(owner["asset"].to_numpy(), minlength=first.height)
    vectors, healths = {}, []
    for width in stored:
        segments = matrix(table[embedding_column(width)], width)
        sums = np.zeros((first.height, width), np.float32)
        np.add.at(sums, owner["asset"].to_numpy(), segments)
        vectors[width] = np.asarray(sums / counts[:, None], np.float32)
        healths.append(health(vectors[width], segments))
    previews = [" ".join((text or "").split())[:_PREVIEW] for text in first["text"]]
    return _Sample(first["uri"].to_list(), first["modality"].to_list(), previews, vectors, tuple(healths))


def health(vectors: Matrix, segments: Matrix) -> Health:
    """Of the sampled assets' directions and the norms of their segments' vectors, float32 `[rows, width]` each."""
    finite = np.isfinite(vectors).all(axis=1)
    good = unit(vectors[finite])
    norms = np.linalg.norm(segments, axis=1)
    spectrum = np.linalg.svd(good - good.mean(axis=0), compute_uv=False) ** 2 if len(good) > 1 else np.ones(1)
    shares = spectrum[spectrum > 0] / max(float(spectrum.sum()), 1e-30)
    n = len(good)
    total = float(np.linalg.norm(good.astype(np.float64).sum(axis=0)) ** 2)
    return Health(
        width=vectors.shape[1],
        sampled=len(vectors),
        not_finite=int((~np.isfinite(segments).all(axis=1)).sum()),
        off_unit=int((np.abs(norms - 1) > _UNIT).sum()),
        same_vector=1 - len(np.unique(good.round(5), axis=0)) / max(n, 1),
        mean_cosine=(total - n) / (n * (n - 1)) if n > 1 else 0.0,
        effective_rank=float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0,
    )


def _neighbours(old: _Sample, new: _Sample) -> tuple[tuple[Overlap, ...], tuple[Mover, ...]]:
    """Both samples are of the same assets in the same order. Widths are paired from the widest down."""
    k = min(K, len(old.uris) - 1)
    if k < 1:
        return (), ()
    overlaps, kinds, everything = [], np.array(old.modalities), np.arange(len(old.uris))
    first: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]] = []
    for old_width, new_width in zip(old.vectors, new.vectors, strict=False):
        ours = nearest(unit(old.vectors[old_width]), everything, k)
        theirs = nearest(unit(new.vectors[new_width]), everything, k)
        shared = np.array([len(set(a) & set(b)) / k for a, b in zip(ours, theirs, strict=True)])
        first.append((shared, ours, theirs))
        for kind in sorted(set(old.modalities)):
            of_kind = shared[kinds == kind]
            overlaps.append(Overlap(modality=kind, old_width=old_width, new_width=new_width, k=k,
                                    sampled=len(of_kind), overlap=float(of_kind.mean())))  # fmt: skip
    shared, ours, theirs = first[0]

    def named(rows: npt.NDArray[np.int64]) -> tuple[str, ...]:
        return tuple(old.uris[row] for row in rows[:_NEIGHBOURS])

    worst = np.argsort(shared, kind="stable")[:_MOVERS]
    movers = [
        Mover(uri=old.uris[i], preview=old.previews[i], overlap=float(shared[i]),
              old_neighbours=named(ours[i]), new_neighbours=named(theirs[i]))
        for i in worst
    ]  # fmt: skip
    return tuple(overlaps), tuple(movers)


def _with_picture(mover: Mover, jpeg: bytes | None) -> Mover:
    return mover if jpeg is None else mover.model_copy(update={"thumbnail": b64encode(jpeg).decode()})


def _summary(reader: LakeReader, corpus: str, space: str, sample: _Sample) -> SpaceSummary:
    made, table = reader.space(corpus, space), reader.segments(corpus, space)
    runs = [run for run in reader.runs(corpus) if run.space == space]
    tables = reader.layout.tables(corpus, space)
    cost = SpaceCost(
        runs=len(runs),
        tokens=sum(run.counts.tokens for run in runs),
        actor_seconds=round(sum(run.actors * run.seconds.get("embed", 0.0) for run in runs), 1),
        bytes=sum(file.size for uri in tables for file in find(reader.storage, uri)),
    )
    state = reader.catalog.corpora[corpus].spaces[space]
    return SpaceSummary(
        space=space,
        model=made.card.model_id,
        widths=made.widths,
        segments=table.count_rows(),
        version=state.version,
        cost=cost,
        health=sample.health,
    )


def _by_modality(reader: LakeReader, corpus: str, old: str, new: str) -> tuple[ModalityCoverage, ...]:
    ours = _assets(reader, corpus, old).filter(pl.col("status") == EMBEDDED)
    theirs = _assets(reader, corpus, new).select("uri", "size", "etag", pl.col("status").alias("now"))
    joined = ours.join(theirs, on=["uri", "size", "etag"], how="left", nulls_equal=True)
    found = joined.group_by("modality").agg(
        pl.len().alias("old"),
        pl.col("now").is_not_null().sum().alias("held"),
        (pl.col("now") == EMBEDDED).sum().alias("embedded"),
    )
    return tuple(ModalityCoverage(**row) for row in found.sort("modality").to_dicts())


def gate_failures(one: Comparison) -> Iterator[str]:
    """What is below or above the gate's thresholds, each in one sentence."""
    gate = one.gate
    if one.coverage < gate.min_coverage:
        yield f"coverage {one.coverage:.1%} is below {gate.min_coverage:.1%}"
    for m in one.coverage_by_modality:
        if m.embedded < gate.min_embedded * m.held:
            yield f"{m.embedded} of {m.held} {m.modality} assets kept vectors, fewer than {gate.min_embedded:.1%}"
    for h in one.new.health:
        at = f"at width {h.width}"
        if h.not_finite > gate.max_not_finite:
            yield f"{h.not_finite} sampled vectors are not finite {at}"
        if h.off_unit > gate.max_off_unit:
            yield f"{h.off_unit} sampled vectors are not of length 1 {at}"
        if h.same_vector > gate.max_same_vector:
            yield f"{h.same_vector:.1%} of the sampled vectors repeat another {at}"
        if h.mean_cosine > gate.max_mean_cosine:
            yield f"mean cosine {h.mean_cosine:.3f} {at}: the vectors have collapsed"
        if h.effective_rank < gate.min_rank_share * min(h.width, h.sampled):
            yield f"effective rank {h.effective_rank:.1f} {at}: the vectors have collapsed"
    widest = [o for o in one.overlaps if o.new_width == one.new.widths[0]]
    for o in widest:
        if o.overlap < gate.min_overlap:
            yield f"{o.modality} keeps {o.overlap:.1%} of its neighbours, below {gate.min_overlap:.1%}"
    yield from _golden_failures(one.golden, one, gate)


def _golden_failures(scores: Sequence[GoldenScore], one: Comparison, gate: Gate) -> Iterator[str]:
    ours = [s for s in scores if s.space == one.old.space]
    theirs = [s for s in scores if s.space == one.new.space]
    for before, after in zip(ours, theirs, strict=False):
        if before.ndcg_at_10 - after.ndcg_at_10 > gate.max_ndcg_drop:
            yield (
                f"nDCG@10 of the golden queries falls from {before.ndcg_at_10:.3f} (width {before.width}) to "
                f"{after.ndcg_at_10:.3f} (width {after.width})"
            )
