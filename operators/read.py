"""Read assets: fetch, decode, segment and prepare one shard of the listing on a CPU worker."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa

from operators.decode.registry import decode
from operators.model.contract import ModelSpec, Preparer
from operators.parts import Part, Segment, to_arrow
from operators.sources.fetch import Fetched, Fetcher, Wanted
from schemas.card import Role
from schemas.errors import AssetError, EmbedlakeError, ErrorCode, Stage, described
from schemas.recipe import Recipe
from schemas.tables import (
    ASSET_KIND,
    DONORS_COLUMN,
    EMBEDDED,
    MOVED,
    PREPARED,
    QUARANTINED,
    SEGMENT_KIND,
    STAGED_COLUMN,
)

_PREPARE_ROWS = 64
_INLINE_NAME = "document.json"
_LISTED = ("uri", "source", "size", "etag", "mtime")


def segment_id(content_hash: str, segment: Segment, recipe_digest: str) -> str:
    """A digest of what decides the segment: the same input has the same id everywhere, 32 hex digits."""
    text = f"{content_hash}\n{segment.modality}\n{segment.locator.key()}\n{recipe_digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadAssets:
    """`LISTING` rows in, `PREPARED` tables out: every segment of every asset, and each asset's outcome.

    A `staged` column (list of segment ids) on the input names segments that an earlier attempt has already
    embedded: they are counted and not emitted again. A `donors` column (list of content hashes) names contents
    whose vectors the lake has: an asset that is one of them is not decoded. Tables are cut at `block_bytes` of media.
    """

    fetcher: Fetcher
    spec: ModelSpec
    recipe: Recipe
    role: str = Role.DOCUMENT
    block_bytes: int = 16 << 20

    def __call__(self, shard: pa.Table) -> Iterator[pa.Table]:
        """One shard's rows; media of at most one block and one asset's window are held at a time."""
        out = _Rows(self.block_bytes, shard.schema)
        rows = shard.to_pylist()
        wanted = [Wanted(r["uri"], r["source"], r["size"], r["inline"], r["etag"]) for r in rows]
        for index, fetched in self.fetcher.fetch_all(wanted):
            asset = _Asset(rows[index], self.recipe.digest)
            if isinstance(fetched, AssetError):
                out.add([asset.outcome(fetched)])
                continue
            if fetched.content_hash in asset.donors:
                out.add([asset.moved(fetched.content_hash)])
                fetched.file.close()
                continue
            try:
                for segments in self._segments(asset, wanted[index], fetched):
                    out.add(segments)
                    if out.full:
                        yield out.take()
                out.add([asset.outcome(None)])
            except AssetError as error:
                out.add([asset.outcome(error)])
            except EmbedlakeError:
                raise
            except Exception as error:
                out.add([asset.outcome(_internal(error, Stage.DECODE))])
            finally:
                fetched.file.close()
            if out.full:
                yield out.take()
        if out.rows:
            yield out.take()

    def _segments(self, asset: _Asset, wanted: Wanted, fetched: Fetched) -> Iterator[list[dict[str, Any]]]:
        preparer = _preparer(self.spec, self.role)
        asset.digests.append(fetched.content_hash)
        media, segments = decode(
            fetched.file,
            wanted.uri if wanted.inline is None else _INLINE_NAME,
            self.recipe,
            self.spec.card,
            preparer.counter,
            lambda reference: asset.opened(self.fetcher.fetch_reference(reference, wanted)),
        )
        asset.media_type = media.mime
        for batch in _batches(segments, _PREPARE_ROWS, self.block_bytes):
            fresh = asset.number(batch)
            inputs, tokens = _prepare(preparer, [segment.parts for _, _, segment in fresh])
            yield [
                asset.segment(ordinal, key, segment, parts, count)
                for (ordinal, key, segment), parts, count in zip(fresh, inputs, tokens, strict=True)
            ]


_PREPARERS: dict[tuple[str, str], Preparer] = {}


def _preparer(spec: ModelSpec, role: str) -> Preparer:
    """The model's CPU half, made once a process: Ray unpickles an operator anew for every task."""
    key = (spec.card.weights_digest, role)
    if key not in _PREPARERS:
        _PREPARERS[key] = spec.preparer(role)
    return _PREPARERS[key]


def _prepare(preparer: Preparer, inputs: list[tuple[Part, ...]]) -> tuple[list[tuple[Part, ...]], list[int]]:
    try:
        return preparer.prepare(inputs)
    except AssetError:
        raise
    except Exception as error:
        raise _internal(error, Stage.PREPARE) from error


def _internal(error: Exception, stage: Stage) -> AssetError:
    detail = described(error)
    return AssetError(ErrorCode.INTERNAL, detail, stage)


def _batches(segments: Iterable[Segment], rows: int, max_bytes: int) -> Iterator[list[Segment]]:
    batch: list[Segment] = []
    size = 0
    for segment in segments:
        batch.append(segment)
        size += _bytes(segment.parts)
        if len(batch) == rows or size >= max_bytes:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _bytes(parts: Iterable[Part]) -> int:
    return sum((0 if p.data is None else p.data.nbytes) + len(p.text or "") for p in parts)


class _Asset:
    """One asset while its segments are numbered and counted."""

    def __init__(self, row: dict[str, Any], recipe_digest: str) -> None:
        self.row = {name: row[name] for name in _LISTED}
        self.metadata = row.get("metadata")
        self.staged = frozenset(row.get(STAGED_COLUMN) or ())
        self.donors = frozenset(row.get(DONORS_COLUMN) or ())
        self.recipe_digest = recipe_digest
        self.digests: list[str] = []
        self.keys: Counter[str] = Counter()
        self.media_type: str | None = None
        self.modality: str | None = None
        self.segments = 0

    @property
    def content_hash(self) -> str | None:
        """The object's sha256; with media that a document refers to, the sha256 over all of theirs."""
        if len(self.digests) < 2:
            return self.digests[0] if self.digests else None
        return hashlib.sha256("\n".join(self.digests).encode()).hexdigest()

    def opened(self, reference: Fetched) -> BinaryIO:
        """Make an opened reference part of the asset's identity."""
        self.digests.append(reference.content_hash)
        return reference.file

    def moved(self, content_hash: str) -> dict[str, Any]:
        """The outcome of an asset that takes a donor's vectors."""
        own = {"kind": ASSET_KIND, "content_hash": content_hash, "status": MOVED, "segments": 0}
        return {**self.row, **own}

    def number(self, batch: list[Segment]) -> list[tuple[int, str, Segment]]:
        numbered = []
        for segment in batch:
            key = segment_id(self.content_hash or "", segment, self.recipe_digest)
            self.keys[key] += 1
            if self.keys[key] > 1:
                key = hashlib.sha256(f"{key}\n{self.keys[key]}".encode()).hexdigest()[:32]
            self.modality = self.modality or str(segment.modality)
            if key not in self.staged:
                numbered.append((self.segments, key, segment))
            self.segments += 1
        return numbered

    def segment(
        self, ordinal: int, key: str, segment: Segment, parts: tuple[Part, ...], tokens: int
    ) -> dict[str, Any]:
        where = segment.locator
        return {
            "kind": SEGMENT_KIND,
            "segment_id": key,
            "uri": self.row["uri"],
            "source": self.row["source"],
            "content_hash": self.content_hash,
            "modality": str(segment.modality),
            "ordinal": ordinal,
            "page": where.page,
            "page_end": where.page_end or where.page,
            "start_ms": where.start_ms,
            "end_ms": where.end_ms,
            "char_start": where.char_start,
            "char_end": where.char_end,
            "text": segment.text,
            "tokens": tokens,
            "metadata": self.metadata,
            "parts": parts,
        }

    def outcome(self, error: AssetError | None) -> dict[str, Any]:
        failed = {}
        if error is not None:
            failed = {
                "error_stage": str(error.stage),
                "error_code": str(error.code),
                "error_detail": error.detail,
            }
        return {
            **self.row,
            "kind": ASSET_KIND,
            "modality": self.modality,
            "content_hash": self.content_hash,
            "media_type": self.media_type,
            "status": EMBEDDED if error is None else QUARANTINED,
            "segments": self.segments if error is None else 0,
            **failed,
        }


class _Rows:
    """Output rows until they are worth a table."""

    def __init__(self, block_bytes: int, listing: pa.Schema) -> None:
        self.rows: list[dict[str, Any]] = []
        self.size = 0
        self.block_bytes = block_bytes
        index = listing.get_field_index("metadata")
        self.metadata = listing.field(index) if index >= 0 else None

    @property
    def full(self) -> bool:
        return self.size >= self.block_bytes

    def add(self, rows: list[dict[str, Any]]) -> None:
        self.rows.extend(rows)
        self.size += sum(_bytes(row.get("parts", ())) for row in rows)

    def take(self) -> pa.Table:
        rows, self.rows, self.size = self.rows, [], 0
        columns = {
            f.name: pa.array([r.get(f.name) for r in rows], f.type) for f in PREPARED if f.name != "parts"
        }
        columns["parts"] = to_arrow(row.get("parts", ()) for row in rows)
        table = pa.table(columns, schema=PREPARED)
        if self.metadata is None:
            return table
        values = pa.array([row.get("metadata") for row in rows], self.metadata.type)
        return table.append_column(self.metadata, values)
