"""Clusters of a corpus: what it is about, as a table of the lake."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from operators.grouping.kmeans import centres, nearest
from operators.grouping.labels import labels
from operators.storage import Storage
from pipelines.grouping import Example, Request, SpaceRows, grouped
from pipelines.progress import Progress, Silent
from pipelines.vectors import Matrix
from schemas.card import Frozen, Modality
from schemas.errors import UsageError
from schemas.groups import Clustering
from schemas.tables import CLUSTERS

K = 100
_SAMPLE_BYTES = 256 << 20
_SAMPLE_A_CENTRE = 256
_LEAST_SAMPLE = 50_000
_TEXTS = 20_000
_CENTRAL = 3


class Cluster(Frozen):
    """One cluster, its rows, words for it when its segments have texts, and its most central segments."""

    cluster: int
    rows: int
    label: str | None
    central: tuple[Example, ...]


class Clusters(Frozen):
    """What was found and published: every segment with a vector is in one cluster, 0 is the largest."""

    lake: str
    corpus: str
    space: str
    space_version: int
    width: int
    modality: Modality | None
    rows: int
    k: int
    sample: int
    seed: int
    clusters: tuple[Cluster, ...]
    catalog_entry: int


def cluster(
    lake: str,
    request: Request = Request(),
    k: int = K,
    storage: Storage = Storage(),
    *,
    wait_s: float = 0.0,
    progress: Progress | None = None,
) -> Clusters:
    """Cluster the segments of a space by spherical k-means and publish that; an earlier table of it is replaced.

    Centres are fitted on a seeded sample of at most 256 MiB of vectors; the others are assigned in one stream. Labels
    are words of at most 20,000 segments of the sample.

    Args:
        lake: its URI.
        request: which segments.
        k: how many clusters; a centre that no row is nearest to gives none.
        storage: how to reach the lake.
        wait_s: how long to wait for a run that holds the corpus.
        progress: who watches.

    Raises:
        ConflictError: a run holds the corpus.
        LakeError: there is no such corpus or space, or it cannot be read or written.
        UsageError: an unknown width, no such rows, or fewer than `k`.
    """
    watch = progress or Silent()
    with grouped(lake, request, storage, "a search for clusters", wait_s, watch) as (writer, rows):
        most = min(_SAMPLE_BYTES // (4 * rows.width), max(_LEAST_SAMPLE, _SAMPLE_A_CENTRE * k))
        drawn = rows.sample(most, request.seed)
        if not 0 < k <= len(drawn):
            raise UsageError(
                f"-k {k} clusters cannot be made from {len(drawn)} segments: give 1 to {len(drawn)}"
            )
        watch.phase("fit", f"{k} centres on {len(drawn)} segments")
        around = centres(rows.vectors(drawn), k, request.seed)
        watch.phase("assign", f"{len(rows)} segments")
        groups = _table(rows, around, drawn, request.seed)
        made = Clustering(
            space=rows.space,
            space_version=rows.version,
            width=rows.width,
            modality=request.modality,
            rows=len(rows),
            seed=request.seed,
            k=k,
            sample=len(drawn),
        )
        entry = writer.publish(rows, groups, CLUSTERS, made)
    return Clusters(
        lake=writer.reader.layout.lake,
        corpus=rows.corpus,
        clusters=tuple(_clusters(rows, groups)),
        catalog_entry=entry,
        **made.model_dump(exclude={"kind"}),
    )


def _table(rows: SpaceRows, around: Matrix, drawn: npt.NDArray[np.int64], seed: int) -> pl.DataFrame:
    """Every row, with the columns of `CLUSTERS` and `place`: large clusters first, each from its centre outwards."""
    found = np.empty(len(rows), np.int32)
    score = np.empty(len(rows), np.float32)
    for places, batch in rows.batches():
        own, cosine = nearest(batch, around, 1)
        found[places], score[places] = own[:, 0], cosine[:, 0]
    sizes = np.bincount(found, minlength=len(around))
    number = np.empty(len(around), np.int32)
    number[np.lexsort((_first(found, len(around)), -sizes))] = np.arange(len(around))
    found = number[found]
    words = pl.Series(_labels(rows, found, drawn, len(around), seed), dtype=pl.String)
    frame = rows.frame.with_columns(
        place=np.arange(len(rows)), cluster=found, score=np.minimum(score, 1), label=words.gather(found)
    ).sort(["cluster", "score", "place"], descending=[False, True, False])
    return frame.with_columns(is_representative=pl.col("cluster").is_first_distinct())


def _first(found: npt.NDArray[np.int32], k: int) -> npt.NDArray[np.int64]:
    """The first row of each cluster, which settles the order of clusters of one size."""
    first = np.full(k, len(found), np.int64)
    np.minimum.at(first, found, np.arange(len(found)))
    return first


def _labels(
    rows: SpaceRows, found: npt.NDArray[np.int32], drawn: npt.NDArray[np.int64], k: int, seed: int
) -> list[str | None]:
    if len(drawn) > _TEXTS:
        drawn = np.sort(np.random.default_rng(seed).choice(drawn, _TEXTS, replace=False))
    texts = rows.take(drawn, ["text"])["text"].to_pylist()
    return labels([text or "" for text in texts], found[drawn], k)


def _clusters(rows: SpaceRows, groups: pl.DataFrame) -> list[Cluster]:
    sizes = groups.group_by("cluster", maintain_order=True).agg(
        pl.len().alias("rows"), pl.col("label").first()
    )
    central = groups.group_by("cluster", maintain_order=True).head(_CENTRAL)
    examples = rows.examples(central["place"].to_numpy(), central["score"].to_numpy())
    of: dict[int, list[Example]] = {}
    for number, example in zip(central["cluster"].to_list(), examples, strict=True):
        of.setdefault(number, []).append(example)
    return [Cluster(**row, central=tuple(of[row["cluster"]])) for row in sizes.to_dicts()]
