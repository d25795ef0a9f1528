"""The rows that reading an asset gives: its segments, numbered, and how it ended."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any, BinaryIO

import pyarrow as pa

from operators.part_columns import to_arrow
from operators.parts import Part, Segment
from operators.sources.archive import Beside
from operators.sources.fetch import Fetcher, Wanted
from operators.sources.spool import Fetched
from schemas.errors import AssetError, ErrorCode, Stage
from schemas.tables import (
    ASSET_KIND,
    DONORS_COLUMN,
    EMBEDDED,
    EXPANDED,
    MEMBER_MARK,
    METADATA_DIGEST,
    MOVED,
    NAME_SUFFIX,
    PREPARED,
    QUARANTINED,
    SEGMENT_KIND,
    STAGED_COLUMN,
    TAKEN_COLUMN,
)

Row = dict[str, Any]

_LISTED = ("uri", "source", "size", "etag", "mtime", METADATA_DIGEST)


def segment_id(content_hash: str, segment: Segment, recipe_digest: str) -> str:
    """A digest of what decides the segment: the same input has the same id everywhere, 32 hex digits."""
    text = f"{content_hash}\n{segment.modality}\n{segment.locator.key()}\n{recipe_digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def media_bytes(parts: Iterable[Part]) -> int:
    """Bytes of media and characters of text."""
    return sum((0 if p.data is None else p.data.nbytes) + len(p.text or "") for p in parts)


class AssetRows:
    """One asset while its segments are numbered and counted; of an archive's member `container` is the object."""

    def __init__(self, row: dict[str, Any], recipe_digest: str, container: str | None = None) -> None:
        self.row = {**{name: row.get(name) for name in _LISTED}, "container": container}
        self.given = row
        self.metadata = row.get("metadata")
        self.staged = row.get(STAGED_COLUMN) or frozenset()
        self.donors = row.get(DONORS_COLUMN) or frozenset()
        self.taken = row.get(TAKEN_COLUMN) or frozenset()
        self.recipe_digest = recipe_digest
        self.digests: list[str] = []
        self.references: dict[str, str] = {}
        self.keys: Counter[str] = Counter()
        self.media_type: str | None = None
        self.modality: str | None = None
        self.segments = 0
        self.kept_for: str | None = None

    @property
    def content_hash(self) -> str | None:
        """The object's sha256; with media that a document refers to, the sha256 over all of theirs."""
        if len(self.digests) < 2:
            return self.digests[0] if self.digests else None
        return hashlib.sha256("\n".join(self.digests).encode()).hexdigest()

    def refer(
        self, fetcher: Fetcher, reference: str, wanted: Wanted, beside: Beside | None = None
    ) -> BinaryIO:
        """Open a reference; what it holds, or that it cannot be read, is part of the asset's identity.

        A decoder opens all of them before it gives the first segment, and may open one again. A relative one of
        a member of an archive is looked for `beside` it.

        Raises:
            AssetError: what the fetcher or the archive raises; CHANGED when the reference is not what it was.
        """
        relative = "://" not in reference and not reference.startswith("/")
        try:
            fetched: Fetched | AssetError = (
                beside.open(reference, self.uri.rpartition(MEMBER_MARK)[2])
                if beside is not None and relative
                else fetcher.fetch_reference(reference, wanted)
            )
        except AssetError as error:
            fetched = error
        found = str(fetched.code) if isinstance(fetched, AssetError) else fetched.content_hash
        if reference not in self.references:
            self.references[reference] = found
            self.digests.append(found)
        if isinstance(fetched, AssetError):
            raise fetched
        if self.references[reference] != found:
            fetched.file.close()
            raise AssetError(ErrorCode.CHANGED, f"{reference} changed while it was read", Stage.FETCH)
        return fetched.file

    @property
    def uri(self) -> str:
        """Its URI; a member's is its archive's, `!/` and its name there."""
        return str(self.row["uri"])

    def member(self, name: str, size: int | None, mtime: datetime | None) -> AssetRows:
        """What lies in this archive: it shares the source, the user's metadata and the object's etag."""
        own = {"uri": f"{self.uri}{MEMBER_MARK}{name}", "size": size, "mtime": mtime}
        return AssetRows({**self.given, **own}, self.recipe_digest, self.row["container"] or self.uri)

    def names_taken(self) -> list[str]:
        """Names that no member may have: with one its URI would be that of an object."""
        inside = f"{self.uri}{MEMBER_MARK}"
        return [uri.removeprefix(inside) for uri in self.taken if uri.startswith(inside)]

    def expanding(self, content_hash: str, media_type: str) -> None:
        """It is an archive."""
        self.digests.append(content_hash)
        self.media_type = media_type

    def expanded(self, inside: int, error: AssetError | None) -> Row:
        """The outcome of an archive whose members gave so many outcomes."""
        return {
            **self.outcome(error),
            "status": EXPANDED if error is None else QUARANTINED,
            "segments": inside,
        }

    def has_donor(self, content_hash: str) -> bool:
        """Whether the lake has vectors of these bytes, read under a name like this one's."""
        suffix = re.search(NAME_SUFFIX, self.uri.lower())
        return content_hash + (suffix.group() if suffix else "") in self.donors

    def moved(self, content_hash: str) -> Row:
        """The outcome of an asset that takes a donor's vectors."""
        own = {"kind": ASSET_KIND, "content_hash": content_hash, "status": MOVED, "segments": 0}
        return {**self.row, **own}

    def number(self, batch: list[Segment]) -> list[tuple[int, str, Segment]]:
        """Ordinal and id of each segment that an earlier attempt has not staged; all are counted."""
        numbered = []
        for segment in batch:
            key = segment_id(self.content_hash or "", segment, self.recipe_digest)
            self.keys[key] += 1
            if self.keys[key] > 1:
                key = hashlib.sha256(f"{key}\n{self.keys[key]}".encode()).hexdigest()[:32]
            self.modality = self.modality or str(segment.modality)
            if self._staged_as(key) not in self.staged:
                numbered.append((self.segments, key, segment))
            self.segments += 1
        return numbered

    def _staged_as(self, key: str) -> str:
        return key if self.row["container"] is None else f"{self.uri} {key}"

    def segment(self, ordinal: int, key: str, segment: Segment, parts: tuple[Part, ...], tokens: int) -> Row:
        """A segment's row, with its prepared parts."""
        where = segment.locator
        return {
            "kind": SEGMENT_KIND,
            "segment_id": key,
            "uri": self.row["uri"],
            "source": self.row["source"],
            "container": self.row["container"],
            "size": self.row["size"],
            METADATA_DIGEST: self.row[METADATA_DIGEST],
            "content_hash": self.content_hash,
            "modality": str(segment.modality),
            "ordinal": ordinal,
            "page": where.page,
            "page_end": where.page_end or where.page,
            "start_ms": where.start_ms,
            "end_ms": where.end_ms,
            "char_start": where.char_start,
            "char_end": where.char_end,
            "row_start": where.row_start,
            "row_end": where.row_end,
            "text": segment.text,
            "tokens": tokens,
            "metadata": self.metadata,
            "parts": parts,
        }

    def outcome(self, error: AssetError | None) -> Row:
        """How the asset ended."""
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
            "kept": error is None and self.kept_for is not None,
            "kept_for": self.kept_for,
            **failed,
        }


_BLOCK_ROWS = 4096
"""Rows without media, of what moved or failed, are a few kilobytes each."""


class Block:
    """Output rows until they are worth a table."""

    def __init__(self, block_bytes: int, listing: pa.Schema) -> None:
        self.rows: list[dict[str, Any]] = []
        self.size = 0
        self.block_bytes = block_bytes
        index = listing.get_field_index("metadata")
        self.metadata = listing.field(index) if index >= 0 else None

    @property
    def full(self) -> bool:
        """Whether it holds its bytes of media, or as many rows as a table has."""
        return self.size >= self.block_bytes or len(self.rows) >= _BLOCK_ROWS

    def add(self, rows: list[Row]) -> None:
        """Hold more rows."""
        self.rows.extend(rows)
        self.size += sum(media_bytes(row.get("parts", ())) for row in rows)

    def take(self) -> pa.Table:
        """The rows as a `PREPARED` table, and none are held any more."""
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
