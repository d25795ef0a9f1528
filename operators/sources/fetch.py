"""Fetch assets: small ones together, large ones streamed to a spool, each hashed and checked as it arrives."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

from operators.faults import Fault, Read, StorageFault, final
from operators.sources.manifest import is_manifest
from operators.sources.spool import Fetched, spooled, too_large
from operators.storage import Storage, explain, is_within, parent, resolve, scheme
from schemas.errors import AssetError, ErrorCode, SourceError, Stage, UsageError

SMALL_BYTES = 4 << 20
GROUP_BYTES = 32 << 20
_AGAIN = "; the next run tries it again"
_CODES = {
    Fault.TRANSIENT: (ErrorCode.STORAGE, _AGAIN),
    Fault.OTHER: (ErrorCode.STORAGE, _AGAIN),
    Fault.CHANGED: (ErrorCode.CHANGED, _AGAIN),
    Fault.MISSING: (ErrorCode.NOT_FOUND, ""),
    Fault.DENIED: (ErrorCode.ACCESS_DENIED, "; grant read access to it"),
    Fault.CREDENTIALS: (ErrorCode.ACCESS_DENIED, "; these credentials can read other objects"),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """An asset to fetch, as the listing saw it."""

    uri: str
    source: str
    size: int | None
    inline: bytes | None = None
    etag: str | None = None

    @property
    def pinned(self) -> str | None:
        """The etag that storage must have now. One that a manifest gives may be any mark of its author's."""
        return None if is_manifest(self.source) else self.etag


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """Reads assets, and only from the roots that their source grants.

    `grants` maps a source to its roots: a manifest cannot read what nobody allowed it to.
    """

    storage: Storage
    grants: dict[str, tuple[str, ...]]
    max_bytes: int

    def fetch_all(self, wanted: list[Wanted]) -> Iterator[tuple[int, Fetched | AssetError]]:
        """Every asset in order, with its index; small neighbours are read in one concurrent request group.

        Raises:
            SourceError: storage refuses the credentials as such: no asset can be read any more.
        """
        group: list[int] = []
        group_bytes = 0
        for index, asset in enumerate(wanted):
            group.append(index)
            group_bytes += asset.size or 0
            large = (asset.size or 0) > SMALL_BYTES
            if large or group_bytes >= GROUP_BYTES:
                yield from self._fetch_group(group, wanted)
                group, group_bytes = [], 0
        yield from self._fetch_group(group, wanted)

    def fetch_reference(self, reference: str, asset: Wanted) -> Fetched:
        """An object that an interleaved document refers to, under the same grants.

        Raises:
            AssetError: outside the grants, missing or unreadable.
        """
        base = parent(asset.uri if asset.inline is None else asset.source)
        try:
            uri = resolve(reference, base)
        except UsageError as error:
            raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, str(error), Stage.FETCH) from error
        return self._stream(Wanted(uri, asset.source, None))

    def _fetch_group(
        self, group: list[int], wanted: list[Wanted]
    ) -> Iterator[tuple[int, Fetched | AssetError]]:
        small = [i for i in group if self._is_small(wanted[i])]
        bodies = self._read_small([wanted[i] for i in small])
        by_index = dict(zip(small, bodies, strict=True))
        for index in group:
            try:
                body = by_index.pop(index, None)
                yield (
                    index,
                    self._checked(wanted[index], body) if body is not None else self._one(wanted[index]),
                )
            except AssetError as error:
                yield index, error

    def _is_small(self, asset: Wanted) -> bool:
        most = min(SMALL_BYTES, self.max_bytes)
        return asset.inline is None and asset.size is not None and asset.size <= most and self._allowed(asset)

    def _read_small(self, assets: list[Wanted]) -> list[bytes | StorageFault]:
        """The bodies in the order of the assets; each scheme has its own request group."""
        bodies: dict[int, bytes | StorageFault] = {}
        for kind in {scheme(a.uri) for a in assets}:
            where = [i for i, a in enumerate(assets) if scheme(a.uri) == kind]
            reads = [Read(assets[i].uri, assets[i].pinned, assets[i].size) for i in where]
            bodies.update(zip(where, self.storage.read_many(reads), strict=True))
        return [bodies[i] for i in range(len(assets))]

    def _one(self, asset: Wanted) -> Fetched:
        if asset.inline is not None:
            return Fetched(
                io.BytesIO(asset.inline), hashlib.sha256(asset.inline).hexdigest(), len(asset.inline)
            )
        return self._stream(asset)

    def _checked(self, asset: Wanted, body: bytes | StorageFault) -> Fetched:
        if isinstance(body, StorageFault):
            raise self._failed(body)
        return Fetched(io.BytesIO(body), hashlib.sha256(body).hexdigest(), len(body))

    def _allowed(self, asset: Wanted) -> bool:
        return any(is_within(asset.uri, root) for root in self.grants.get(asset.source, ()))

    def _stream(self, asset: Wanted) -> Fetched:
        if not self._allowed(asset):
            detail = f"{asset.uri} is outside the allowed roots of {asset.source}; allow it with --allow ROOT"
            raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, detail, Stage.FETCH)
        if (asset.size or 0) > self.max_bytes:
            raise too_large(f"{asset.size} bytes", self.max_bytes)
        try:
            return spooled(self.storage.blocks(Read(asset.uri, asset.pinned, asset.size)), self.max_bytes)
        except OSError as error:
            raise self._failed(final(error, asset.uri)) from error

    def _failed(self, fault: StorageFault) -> AssetError:
        if fault.fault is Fault.CREDENTIALS and self.storage.refuses_credentials(fault.uri):
            raise explain(fault, fault.uri, SourceError) from fault
        code, way_out = _CODES[fault.fault]
        return AssetError(code, f"{fault}{way_out}", Stage.FETCH)
