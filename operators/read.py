"""Read assets: fetch, decode, segment and prepare one shard of the listing."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from typing import Any, cast

import pyarrow as pa

from operators.isolation.decoders import decoder
from operators.isolation.session import AHEAD
from operators.lake.tombstones import Tombstones
from operators.model.contract import ModelSpec, Preparer
from operators.parts import Part, Segment
from operators.prepared.fit import ARCHIVE, KeptFor
from operators.prepared.keep import Keeper
from operators.prepared.read import Unpacker, asset_rows
from operators.prepared.store import Prepared
from operators.rows import AssetRows, Block, Row, media_bytes
from operators.sources.archive import Beside, archive_kind, members
from operators.sources.fetch import Fetcher, Wanted
from operators.sources.spool import Fetched
from schemas.card import Role
from schemas.config import DecodeConfig
from schemas.errors import AssetError, EmbedlakeError, ErrorCode, Stage, described, from_storage
from schemas.recipe import Recipe
from schemas.tables import (
    ASSET_KIND,
    DONORS_COLUMN,
    KEPT_COLUMN,
    STAGED_COLUMN,
    TAKEN_COLUMN,
)

_PREPARE_ROWS = 64
_SETS = (STAGED_COLUMN, DONORS_COLUMN, TAKEN_COLUMN)
_INLINE_NAME = "document.json"
_Found = tuple[AssetRows, Wanted, Fetched | AssetError]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAssets:
    """`LISTING` rows in, `PREPARED` tables out: every segment of every asset, and each asset's outcome.

    A `staged` column (list of segment ids) on the input names segments that an earlier attempt has already
    embedded: they are counted and not emitted again. A `donors` column (list of content hashes) names contents
    whose vectors the lake has: an asset that is one of them is not decoded. A `kept_rows` column (list of places in
    `prepared`) names assets whose decoded media the lake has: they come from there, and their objects are not read.
    With `keep` what is decoded goes along to be kept. What lies in an archive and was `forgotten` gives no row at
    all. Tables are cut at `block_bytes` of media.
    """

    fetcher: Fetcher
    spec: ModelSpec
    recipe: Recipe
    forgotten: Tombstones = field(default_factory=Tombstones)
    role: str = Role.DOCUMENT
    block_bytes: int = 32 << 20
    limits: DecodeConfig = DecodeConfig()
    keep: bool = False
    prepared: Prepared | None = None

    def __call__(self, shard: pa.Table) -> Iterator[pa.Table]:
        """One shard's rows; media of at most one block and one asset's window are held at a time."""
        out = Block(self.block_bytes, shard.schema)
        rows = shard.to_pylist()
        for row in rows:
            row.update({name: frozenset(row.get(name) or ()) for name in _SETS})
        kept = [row for row in rows if row.get(KEPT_COLUMN)]
        for found in chain(self._kept(kept), self._read([row for row in rows if not row.get(KEPT_COLUMN)])):
            out.add(found)
            if out.full:
                yield out.take()
        if out.rows:
            yield out.take()

    def _kept(self, rows: list[Row]) -> Iterator[list[Row]]:
        """The rows of assets whose prepared media the lake has: their objects are left alone."""
        if self.prepared is None or not rows:
            return
        unpacker = Unpacker(self.recipe, self.spec.card, _preparer(self.spec, self.role).counter)
        records = self.prepared.rows([place for row in rows for place in row[KEPT_COLUMN]])
        for row in rows:
            asset, mine = AssetRows(row, self.recipe.digest), islice(records, len(row[KEPT_COLUMN]))
            yield from _ended(asset, asset_rows(asset, mine, unpacker, self._rows))
            deque(mine, maxlen=0)

    def _read(self, rows: list[Row]) -> Iterator[list[Row]]:
        for asset, wanted, fetched in self._ahead(rows):
            if isinstance(fetched, AssetError):
                yield [asset.outcome(fetched)]
            else:
                yield from self._asset(asset, wanted, fetched)

    def _ahead(self, rows: list[Row]) -> Iterator[_Found]:
        """What is fetched, in order; those that come next are made known to the decoders."""
        wanted = [Wanted(r["uri"], r["source"], r["size"], r["inline"], r["etag"]) for r in rows]
        waiting: deque[_Found] = deque()
        for index, fetched in self.fetcher.fetch_all(wanted):
            found = (AssetRows(rows[index], self.recipe.digest), wanted[index], fetched)
            waiting.append(found)
            most = AHEAD if self._expected(*found) else 0
            while len(waiting) > most:
                yield waiting.popleft()
        yield from waiting

    def _expected(self, asset: AssetRows, wanted: Wanted, fetched: Fetched | AssetError) -> bool:
        """Tell the decoders of an asset; False where it must not lie between others that they are told of."""
        if isinstance(fetched, AssetError) or asset.has_donor(fetched.content_hash):
            return True
        if not isinstance(fetched.file, io.BytesIO) or (
            self.recipe.archive.expand and archive_kind(fetched.file) is not None
        ):
            return False
        counter = _preparer(self.spec, self.role).counter
        decoder(self.limits).expect(fetched.file, _name(wanted), self.recipe, self.spec.card, counter)
        return True

    def _asset(
        self, asset: AssetRows, wanted: Wanted, fetched: Fetched, depth: int = 0, beside: Beside | None = None
    ) -> Iterator[list[Row]]:
        """The rows of one asset, its outcome last; of an archive first those of what lies in it."""
        with closing(fetched.file):
            yield from _ended(asset, self._decoded(asset, wanted, fetched, depth, beside))

    def _decoded(
        self, asset: AssetRows, wanted: Wanted, fetched: Fetched, depth: int, beside: Beside | None
    ) -> Iterator[list[Row]]:
        if asset.has_donor(fetched.content_hash):
            yield [asset.moved(fetched.content_hash)]
            return
        kind = archive_kind(fetched.file) if self.recipe.archive.expand else None
        if kind is not None:
            yield from self._archive(asset, wanted, fetched, kind, depth + 1)
            return
        yield from self._segments(asset, wanted, fetched, beside)
        yield [asset.outcome(None)]

    def _archive(
        self, asset: AssetRows, wanted: Wanted, fetched: Fetched, kind: str, depth: int
    ) -> Iterator[list[Row]]:
        """What came out before an archive turned out to be damaged is kept: the rest is what its row says."""
        limits, inside = self.recipe.archive, 0
        error: AssetError | None = None
        asset.expanding(fetched.content_hash, f"application/x-{kind}")
        asset.kept_for = ARCHIVE if self.keep else None
        if depth > limits.max_depth:
            raise AssetError(ErrorCode.LIMIT, f"an archive in {depth - 1} others, more than are opened")
        found_in = (fetched.file, kind, fetched.size, limits, self.fetcher.max_bytes)
        beside = Beside(*found_in)
        try:
            for member in members(*found_in, asset.names_taken()):
                inner = asset.member(member.name, member.size, member.mtime)
                if self.forgotten.holds(inner.uri):
                    if isinstance(member.body, Fetched):
                        member.body.file.close()
                    continue
                found: Iterable[list[Row]] = (
                    ([inner.outcome(member.body)],)
                    if isinstance(member.body, AssetError)
                    else self._asset(
                        inner, replace(wanted, uri=inner.uri, inline=None), member.body, depth, beside
                    )
                )
                for rows in found:
                    inside += sum(row["kind"] == ASSET_KIND for row in rows)
                    yield rows
        except AssetError as damage:
            error = damage
        yield [asset.expanded(inside, error)]

    def _segments(
        self, asset: AssetRows, wanted: Wanted, fetched: Fetched, beside: Beside | None
    ) -> Iterator[list[Row]]:
        preparer = _preparer(self.spec, self.role)
        asset.digests.append(fetched.content_hash)
        media, segments = decoder(self.limits).decode(
            fetched.file,
            _name(wanted),
            self.recipe,
            self.spec.card,
            preparer.counter,
            lambda reference: asset.refer(self.fetcher, reference, wanted, beside),
        )
        asset.media_type = media.mime
        keeper = None
        if self.keep:
            keeper = Keeper(KeptFor.of(media.modality, self.recipe, self.spec.card, preparer.counter))
        with closing(cast(Any, segments)):
            yield from self._rows(asset, segments, keeper)
        if keeper is not None:
            asset.kept_for = keeper.kept_for

    def _rows(
        self, asset: AssetRows, segments: Iterator[Segment], keeper: Keeper | None = None
    ) -> Iterator[list[Row]]:
        preparer = _preparer(self.spec, self.role)
        for batch in _batches(segments, _PREPARE_ROWS, self.block_bytes):
            fresh = asset.number(batch)
            inputs, tokens = _prepare(preparer, [segment.parts for _, _, segment in fresh])
            rows = [
                asset.segment(ordinal, key, segment, parts, count)
                for (ordinal, key, segment), parts, count in zip(fresh, inputs, tokens, strict=True)
            ]
            if keeper is not None:
                keeper.keep(batch, zip(rows, (segment for _, _, segment in fresh), strict=True))
            yield rows


def _name(wanted: Wanted) -> str:
    return wanted.uri if wanted.inline is None else _INLINE_NAME


def _ended(asset: AssetRows, found: Iterator[list[Row]]) -> Iterator[list[Row]]:
    """An asset's rows; where they break off, its outcome says why."""
    try:
        yield from found
    except AssetError as error:
        yield [asset.outcome(error)]
    except EmbedlakeError:
        raise
    except Exception as error:
        yield [asset.outcome(_internal(error, Stage.DECODE))]


_PREPARERS: dict[tuple[str, str], Preparer] = {}


def _preparer(spec: ModelSpec, role: str) -> Preparer:
    """The model's CPU half, made once a process: Ray unpickles an operator anew for every task."""
    key = (spec.card.weights_digest, role)
    if key not in _PREPARERS:
        _PREPARERS.setdefault(key, spec.preparer(role))
    return _PREPARERS[key]


def _prepare(preparer: Preparer, inputs: list[tuple[Part, ...]]) -> tuple[list[tuple[Part, ...]], list[int]]:
    try:
        return preparer.prepare(inputs)
    except AssetError:
        raise
    except Exception as error:
        raise _internal(error, Stage.PREPARE) from error


def _internal(error: Exception, stage: Stage) -> AssetError:
    """The error of a fault that no decoder names: the machine's own, such as a full disk, passes."""
    code = ErrorCode.STORAGE if from_storage(error) else ErrorCode.INTERNAL
    return AssetError(code, described(error), stage)


def _batches(segments: Iterable[Segment], rows: int, max_bytes: int) -> Iterator[list[Segment]]:
    batch: list[Segment] = []
    size = 0
    for segment in segments:
        batch.append(segment)
        size += media_bytes(segment.parts)
        if len(batch) == rows or size >= max_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
