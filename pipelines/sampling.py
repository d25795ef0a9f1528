"""Which assets a census reads, and what those say about the rest: stratified, seeded, bounded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

from schemas.forecast import Estimate

Floats = npt.NDArray[np.float64]

_BINS = 4
_BIN_ROWS = 8
_CONFIDENCE = 0.975
_LARGEST_SHARE = 8
_SUFFIXES = {
    "audio": "aac aif aiff flac m4a m4b mka mp3 oga ogg opus wav weba wma",
    "document": "json",
    "image": "avif bmp gif heic heif jp2 jpeg jpg png tif tiff webp",
    "pdf": "pdf",
    "video": "avi flv m4v mkv mov mp4 mpeg mpg mts ogv ts webm wmv",
}
_KINDS = {f".{suffix}": kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}


@dataclass(frozen=True, slots=True)
class Stratum:
    """Assets of one kind and of like size: row numbers, in the order in which they are drawn.

    `sizes` are the bytes of each row, 0 when unknown; the first `wanted` rows are the sample.
    """

    kind: str
    rows: npt.NDArray[np.int64]
    sizes: Floats
    wanted: int = 0


@dataclass(frozen=True, slots=True)
class Draw:
    """A census' sample. `beyond` are, by kind, the sizes of assets too large to be read by it."""

    strata: list[Stratum]
    beyond: dict[str, Floats] = field(default_factory=dict)


def kind_of(suffix: str) -> str:
    """What an asset's suffix says it is. It only stratifies: what an asset is, its bytes say."""
    return _KINDS.get(suffix.lower(), "text")


def draw(work: pl.DataFrame, sample: int, max_bytes: int, seed: int) -> Draw:
    """A sample of at most `sample` assets of each kind, and about `max_bytes` in all.

    Strata of a kind have like shares of its bytes, so that the few large assets, which hold most of the tokens,
    are read in greater part than the many small ones.

    Args:
        work: `uri` and `size` of the planned assets.
        sample: most assets of one kind, at least 2.
        max_bytes: of the whole sample; no asset over an eighth of it is read if two smaller ones are there.
        seed: the same seed draws the same sample.
    """
    frame = work.with_row_index("row").with_columns(size=pl.col("size").fill_null(0).cast(pl.Float64))
    frame = frame.with_columns(suffix=pl.col("uri").str.extract(r"(\.[^./]*)$").fill_null(""))
    kinds = {suffix: kind_of(suffix) for suffix in frame["suffix"].unique()}
    frame = frame.with_columns(kind=pl.col("suffix").replace_strict(kinds, return_dtype=pl.String))
    random = np.random.default_rng(seed)
    strata: list[Stratum] = []
    beyond: dict[str, Floats] = {}
    for (kind,), group in sorted(frame.group_by("kind"), key=lambda one: str(one[0][0])):
        ordered = group.sort("size", "uri")
        rows, sizes = ordered["row"].to_numpy().astype(np.int64), ordered["size"].to_numpy()
        cap = min(max_bytes, max(max_bytes // _LARGEST_SHARE, *sizes[:2]))
        kept = int(np.searchsorted(sizes, cap, side="right"))
        if kept < len(sizes):
            beyond[str(kind)] = sizes[kept:]
        strata += _strata(str(kind), rows[:kept], sizes[:kept], sample, random)
    return Draw(_within(strata, max_bytes), beyond)


def _strata(
    kind: str, rows: npt.NDArray[np.int64], sizes: Floats, sample: int, random: np.random.Generator
) -> list[Stratum]:
    """Up to four strata by size, of equal bytes; sizes ascend."""
    bins = max(1, min(_BINS, sample // _BIN_ROWS)) if len(rows) > sample else 1
    total = sizes.sum()
    place = np.minimum((np.cumsum(sizes) - sizes) / total * bins, bins - 1) if total else np.zeros(len(rows))
    found = [np.flatnonzero(place.astype(int) == number) for number in range(bins)]
    found = [members for members in found if len(members)]
    made, left = [], sample
    # What a small stratum does not need goes to the others.
    for position, members in enumerate(sorted(found, key=len)):
        order = members[random.permutation(len(members))]
        wanted = min(len(order), max(2, left // (len(found) - position)))
        made.append(Stratum(kind, rows[order], sizes[order], wanted))
        left -= wanted
    return made


def _within(strata: list[Stratum], max_bytes: int) -> list[Stratum]:
    """Fewer rows of the strata that cost most, until the sample fits; two of each stay."""
    wanted = [s.wanted for s in strata]
    means = [float(s.sizes.mean()) for s in strata]
    while sum(w * m for w, m in zip(wanted, means, strict=True)) > max_bytes:
        costs = [w * m if w > 2 else 0.0 for w, m in zip(wanted, means, strict=True)]
        if not any(costs):
            break
        wanted[int(np.argmax(costs))] -= 1
    return [Stratum(s.kind, s.rows, s.sizes, w) for s, w in zip(strata, wanted, strict=True)]


@dataclass(frozen=True, slots=True)
class Total:
    """An estimated sum and the half width of its interval."""

    value: float
    half: float

    def __add__(self, other: Total) -> Total:
        """Sums over independent strata: half widths add in quadrature."""
        return Total(self.value + other.value, math.hypot(self.half, other.half))

    def estimate(self, seen: float) -> Estimate:
        """The interval, which holds no less than what was seen."""
        value = max(self.value, seen)
        return Estimate(
            value=value, low=max(seen, self.value - self.half), high=max(value, self.value + self.half)
        )


NOTHING = Total(0.0, 0.0)


def total_of(values: Sequence[float], sizes: Floats, count: int, size_sum: float) -> Total:
    """The sum over a stratum from a sample of it, with a 95 % half width.

    From eight rows on by the regression estimator, with size as the auxiliary variable (Cochran, Sampling
    Techniques, 3rd ed., 7.3); from fewer, or from equal sizes, by the sample's mean. One row of several says
    nothing of their spread: its half width is the estimate itself.

    Args:
        values: of the sample.
        sizes: of the sample, bytes.
        count: assets of the stratum.
        size_sum: their bytes.
    """
    y, x = np.asarray(values, np.float64), np.asarray(sizes, np.float64)
    n = len(y)
    if n == count:
        return Total(float(y.sum()), 0.0)
    if n < 2:
        return Total(float(y.sum()) * count, float(y.sum()) * count)
    spread = float(((x - x.mean()) ** 2).sum())
    if n >= _BIN_ROWS and spread > 0:
        slope = float(((x - x.mean()) * (y - y.mean())).sum()) / spread
        residuals = y - y.mean() - slope * (x - x.mean())
        ahead = size_sum / count - x.mean()
        variance = float((residuals**2).sum()) / (n - 2) * (1 / n - 1 / count + ahead**2 / spread)
        value, freedom = count * (y.mean() + slope * ahead), n - 2
    else:
        variance, value, freedom = float(y.var(ddof=1)) * (1 / n - 1 / count), count * y.mean(), n - 1
    return Total(float(value), count * _student(freedom) * math.sqrt(max(0.0, variance)))


def beyond_of(values: Sequence[float], sizes: Floats, beyond: Floats, *, by_count: bool = False) -> Total:
    """The sum over assets that no sample reaches, by the largest sampled ones' values a byte, or an asset.

    The half width is that of the ratio, by the jackknife; a value a byte is an assumption and gets a quarter at
    least.

    Args:
        values: of the kind's sampled assets.
        sizes: of them, bytes.
        beyond: sizes of the assets that were not read.
        by_count: whether the values go with the number of assets instead of with their bytes.
    """
    order = np.argsort(sizes, kind="stable")[-_BIN_ROWS:]
    y, x = np.asarray(values, np.float64)[order], sizes[order]
    by_count = by_count or not x.sum()
    x, size_sum = (np.ones(len(y)), float(len(beyond))) if by_count else (x, float(beyond.sum()))
    ratio = y.sum() / x.sum()
    value = float(ratio * size_sum)
    if len(y) < 2:
        return Total(value, value)
    rest = x.sum() - x
    others = np.divide(y.sum() - y, rest, out=np.full(len(y), ratio), where=rest > 0)
    deviation = math.sqrt((len(y) - 1) / len(y) * float(((others - ratio) ** 2).sum()))
    least = 0.0 if by_count else value / 4
    return Total(value, max(least, _student(len(y) - 1) * deviation * size_sum))


def _student(freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, _CONFIDENCE))
