"""The assets behind hits: only what a corpus' table lists is ever read, and only as it was when it was embedded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from operators.faults import Fault, Read, StorageFault
from operators.sources.archive import archive_kind, members
from operators.sources.fetch import Fetcher, Wanted
from operators.sources.spool import Fetched
from operators.storage import explained, is_within
from pipelines.beside import grants_of
from pipelines.query import any_of
from pipelines.reader import LakeReader
from schemas.errors import AssetError, ErrorCode, LakeError, Stage
from schemas.tables import MEMBER_MARK

_COLUMNS = ["uri", "source", "container", "size", "etag", "modality", "media_type"]
_STEP_BYTES = 1 << 20
_MOST_BYTES = 512 << 20
"""Of an object that is read whole: an archive, or what a picture is made of."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A row of the corpus' assets."""

    uri: str
    source: str
    container: str | None
    size: int | None
    etag: str | None
    modality: str | None
    media_type: str | None

    @property
    def wanted(self) -> Wanted:
        """How it is fetched; of a member of an archive, how the archive is."""
        size = self.size if self.container is None else None
        return Wanted(self.container or self.uri, self.source, size, None, self.etag)


@dataclass(frozen=True, slots=True)
class Assets:
    """The assets of a corpus' live space; `allow` are further roots that manifests may read."""

    reader: LakeReader
    corpus: str
    allow: tuple[str, ...] = ()

    def find(self, uris: Iterable[str]) -> dict[str, Asset]:
        """Those of the URIs that the table lists.

        Raises:
            LakeError: it cannot be read.
        """
        wanted = sorted(set(uris))
        if not wanted:
            return {}
        with explained(self.reader.layout.lake, LakeError):
            table = self.reader.assets(self.corpus).to_table(columns=_COLUMNS, filter=any_of(wanted))
        return {row["uri"]: Asset(**row) for row in table.to_pylist()}

    def fetch(self, asset: Asset) -> Fetched:
        """The whole asset, seekable; close its file. A member comes out of its archive.

        Raises:
            AssetError: outside its source, gone, changed since it was embedded, too large, damaged.
            SourceError: storage refuses the credentials.
        """
        most = min(_MOST_BYTES, self.reader.space(self.corpus).recipe.max_asset_bytes)
        fetcher = Fetcher(storage=self.reader.storage, grants=self._grants(asset), max_bytes=most)
        ((_, found),) = fetcher.fetch_all([asset.wanted])
        if isinstance(found, AssetError):
            raise found
        if asset.container is None:
            return found
        for name in asset.uri.removeprefix(asset.container + MEMBER_MARK).split(MEMBER_MARK):
            with found.file:
                found = self._member(found, name, most)
        return found

    def size(self, asset: Asset) -> int:
        """The object's bytes now.

        Raises:
            AssetError: as `fetch`.
        """
        wanted = asset.wanted
        if not any(is_within(wanted.uri, root) for root in self._grants(asset).get(asset.source, ())):
            raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, f"{wanted.uri} is outside its source", Stage.FETCH)
        (found,) = self.reader.storage.stat_many([wanted.uri])
        if isinstance(found, StorageFault):
            raise _failed(found)
        if wanted.pinned is not None and found.etag != wanted.pinned:
            raise AssetError(
                ErrorCode.CHANGED, f"{wanted.uri} has changed since it was embedded", Stage.FETCH
            )
        return found.size

    def blocks(self, asset: Asset, start: int, stop: int) -> Iterator[bytes]:
        """The bytes `[start, stop)` of an object that `size` has looked at.

        Raises:
            AssetError: as `fetch`.
        """
        for at in range(start, stop, _STEP_BYTES):
            read = Read(asset.uri, asset.wanted.pinned, min(_STEP_BYTES, stop - at), at)
            (found,) = self.reader.storage.read_many([read])
            if isinstance(found, StorageFault):
                raise _failed(found)
            yield found

    def _member(self, archive: Fetched, name: str, most: int) -> Fetched:
        kind = archive_kind(archive.file)
        if kind is not None:
            limits = self.reader.space(self.corpus).recipe.archive
            for member in members(archive.file, kind, archive.size, limits, most):
                if member.name == name and isinstance(member.body, Fetched):
                    return member.body
                if isinstance(member.body, Fetched):
                    member.body.file.close()
        raise AssetError(ErrorCode.NOT_FOUND, f"no {name} in the archive", Stage.FETCH)

    def _grants(self, asset: Asset) -> dict[str, tuple[str, ...]]:
        return grants_of(pa.table({"uri": [asset.uri], "source": [asset.source]}), self.allow)


def _failed(fault: StorageFault) -> AssetError:
    codes = {
        Fault.MISSING: ErrorCode.NOT_FOUND,
        Fault.DENIED: ErrorCode.ACCESS_DENIED,
        Fault.CREDENTIALS: ErrorCode.ACCESS_DENIED,
        Fault.CHANGED: ErrorCode.CHANGED,
    }
    return AssetError(codes.get(fault.fault, ErrorCode.STORAGE), str(fault), Stage.FETCH)


def context_of(rows: list[dict[str, Any]], ordinal: int) -> tuple[str, str]:
    """What stands before and after a chunk of text, without what they share with it.

    Args:
        rows: `ordinal`, `text`, `char_start`, `char_end` and `page` of the chunk and its neighbours.
        ordinal: of the chunk.
    """
    by = {row["ordinal"]: row for row in rows}
    own, before, after = by[ordinal], by.get(ordinal - 1), by.get(ordinal + 1)
    return (
        "" if before is None else _cut(before, own, before=True),
        "" if after is None else _cut(own, after, before=False),
    )


def _cut(first: dict[str, Any], second: dict[str, Any], *, before: bool) -> str:
    """The text of one of two chunks that follow each other, cut where the other begins or ends."""
    text: str = (first if before else second)["text"] or ""
    if first["char_end"] is None or second["char_start"] is None or first["page"] != second["page"]:
        return text
    shared = first["char_end"] - second["char_start"]
    if shared <= 0:
        return text
    return text[:-shared] if before else text[shared:]
