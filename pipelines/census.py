"""A token census of planned assets: a bounded sample goes through the operator that a run reads with."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from operators.read import ReadAssets
from pipelines.progress import Progress, Silent
from pipelines.sampling import NOTHING, Draw, Floats, Stratum, Total, beyond_of, draw, total_of
from schemas.card import Modality
from schemas.forecast import Census, Estimate, ModalityCensus, Unestimated
from schemas.tables import ASSET_KIND, EMBEDDED, MOVED, SEGMENT_KIND

SAMPLE = 32
SAMPLE_BYTES = 512 << 20
SAMPLE_SECONDS = 120.0
_TELL_S = 5.0

_ASSETS, _BYTES, _SEGMENTS, _TOKENS = "assets", "bytes", "segments", "tokens"
_ALL, _ERROR = "all", "error:"
_ASSET = ("uri", "container", "size")
Key = tuple[str, str]
"""What is summed: a modality (or `moved`, or `error:<code>`) and a unit; `all` sums segments and tokens."""


def ignore(segments: pa.Table) -> None:
    """What becomes of prepared segments when nobody wants them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """A census' bounds: at most `sample` assets a kind, about `max_bytes`, about `max_seconds`.

    `keep` is given each table of prepared segments, to calibrate on.
    """

    read: ReadAssets
    sample: int = SAMPLE
    max_bytes: int = SAMPLE_BYTES
    max_seconds: float = SAMPLE_SECONDS
    seed: int = 0
    keep: Callable[[pa.Table], None] = ignore

    def take(self, work: pa.Table, progress: Progress | None = None) -> Census:
        """Read a sample of the listing rows `work`, and extrapolate to all of them.

        An asset that cannot be read counts as one that a run would quarantine.
        """
        started = time.monotonic()
        frame = pl.DataFrame(pl.from_arrow(work.select(["uri", "size"])))
        drawn = draw(frame, self.sample, self.max_bytes, self.seed)
        watcher = progress or Silent()
        read = self._read(work, drawn, watcher, started + self.max_seconds)
        sums = _Sums(drawn, read)
        return Census(
            assets=work.num_rows,
            bytes=int(frame["size"].fill_null(0).sum()),
            seed=self.seed,
            sampled=sum(len(found) for found in read),
            sampled_bytes=int(sum(s.sizes[: len(f)].sum() for s, f in zip(drawn.strata, read, strict=True))),
            seconds=round(time.monotonic() - started, 3),
            modalities=sums.modalities(),
            segments=sums.estimate(_ALL, _SEGMENTS),
            tokens=sums.estimate(_ALL, _TOKENS),
            moved=sums.estimate(MOVED, _ASSETS),
            quarantined=sums.quarantined(),
            extrapolated=sums.extrapolated,
            unestimated=tuple(sums.unestimated),
        )

    def _read(self, work: pa.Table, drawn: Draw, progress: Progress, deadline: float) -> list[list[_Seen]]:
        """What was found of each stratum's sample, in the order drawn; rounds take one row of each stratum."""
        found: list[list[_Seen]] = [[] for _ in drawn.strata]
        planned, told = sum(stratum.wanted for stratum in drawn.strata), time.monotonic()
        for number in range(max((stratum.wanted for stratum in drawn.strata), default=0)):
            # Two of each, or nothing is known of their spread.
            if number > 1 and time.monotonic() > deadline:
                break
            due = [i for i, stratum in enumerate(drawn.strata) if number < stratum.wanted]
            rows = [int(drawn.strata[i].rows[number]) for i in due]
            for i, seen in zip(due, self._shard(work.take(pa.array(rows))), strict=True):
                found[i].append(seen)
            if time.monotonic() > told + _TELL_S:
                told = time.monotonic()
                progress.phase("sample", f"{sum(map(len, found))} of {planned} assets read")
        return found

    def _shard(self, shard: pa.Table) -> list[_Seen]:
        """What was found of each row; an archive's is the sum of what is in it."""
        pairs = zip(shard["uri"].to_pylist(), shard["size"].to_pylist(), strict=True)
        seen = {uri: _Seen(size or 0) for uri, size in pairs}
        members: dict[tuple[str, str], _Seen] = {}

        def of(uri: str, container: str | None, size: int | None) -> _Seen:
            return seen[uri] if container is None else members.setdefault((container, uri), _Seen(size or 0))

        for table in self.read(shard):
            segments = table.filter(pc.equal(table["kind"], SEGMENT_KIND))
            self.keep(segments)
            for *asset, modality, tokens in _rows(segments, *_ASSET, "modality", "tokens"):
                of(*asset).segment(modality, tokens)
            ended = table.filter(pc.equal(table["kind"], ASSET_KIND))
            for *asset, status, modality, code in _rows(ended, *_ASSET, "status", "modality", "error_code"):
                of(*asset).end(status, modality, code)
        for (container, _), member in members.items():
            seen[container].values.update(member.values)
        return list(seen.values())


def _rows(table: pa.Table, *columns: str) -> list[tuple[Any, ...]]:
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


class _Seen:
    """One asset of the sample, while it is read and afterwards."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.values: Counter[Key] = Counter()

    def segment(self, modality: str, tokens: int) -> None:
        for of in (modality, _ALL):
            self.values[of, _SEGMENTS] += 1
            self.values[of, _TOKENS] += tokens

    def end(self, status: str, modality: str, code: str | None) -> None:
        if status == EMBEDDED:
            self.values.update({(modality, _ASSETS): 1, (modality, _BYTES): self.size})
        else:
            # What a failing asset gave before it failed is never published.
            self.values = Counter({(f"{_ERROR}{code}" if code else status, _ASSETS): 1})


class _Sums:
    """Totals over all planned assets, from what was seen of the sample."""

    def __init__(self, drawn: Draw, found: list[list[_Seen]]) -> None:
        self.seen: Counter[Key] = Counter()
        for seen in (one for stratum in found for one in stratum):
            self.seen.update(seen.values)
        self.totals: dict[Key, Total] = dict.fromkeys(self.seen, NOTHING)
        self.unestimated: list[Unestimated] = []
        self.extrapolated = 0
        by_kind: dict[str, list[_Seen]] = {}
        for stratum, read in zip(drawn.strata, found, strict=True):
            self._add(stratum, read)
            by_kind.setdefault(stratum.kind, []).extend(read)
        for kind, sizes in drawn.beyond.items():
            self._add_beyond(kind, by_kind.get(kind, []), sizes)

    def _add(self, stratum: Stratum, read: list[_Seen]) -> None:
        if not read:
            self._unknown(stratum.kind, stratum.sizes)
            return
        sizes = stratum.sizes[: len(read)]
        for key in self.totals:
            values = [seen.values[key] for seen in read]
            self.totals[key] += total_of(values, sizes, len(stratum.rows), float(stratum.sizes.sum()))

    def _add_beyond(self, kind: str, read: list[_Seen], beyond: Floats) -> None:
        if not read:
            self._unknown(kind, beyond)
            return
        self.extrapolated += len(beyond)
        sizes = np.array([seen.size for seen in read], np.float64)
        for key in self.totals:
            values = [seen.values[key] for seen in read]
            self.totals[key] += beyond_of(values, sizes, beyond, by_count=key[1] == _ASSETS)

    def _unknown(self, kind: str, sizes: Floats) -> None:
        self.unestimated.append(Unestimated(kind=kind, assets=len(sizes), bytes=int(sizes.sum())))

    def estimate(self, of: str, unit: str) -> Estimate:
        """The estimate of one sum, rounded to whole things; nothing of what no sampled asset has."""
        total = self.totals.get((of, unit), NOTHING)
        return total.estimate(self.seen[of, unit]).rounded()

    def modalities(self) -> tuple[ModalityCensus, ...]:
        present = [m for m in Modality if (m.value, _SEGMENTS) in self.totals]
        return tuple(
            ModalityCensus(
                modality=m,
                sampled=self.seen[m.value, _ASSETS],
                assets=self.estimate(m.value, _ASSETS),
                bytes=self.estimate(m.value, _BYTES),
                segments=self.estimate(m.value, _SEGMENTS),
                tokens=self.estimate(m.value, _TOKENS),
            )
            for m in present
        )

    def quarantined(self) -> dict[str, Estimate]:
        """By error code."""
        codes = sorted(of for of, unit in self.totals if of.startswith(_ERROR))
        return {of.removeprefix(_ERROR): self.estimate(of, _ASSETS) for of in codes}
