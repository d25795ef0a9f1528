"""Fetch assets: small ones together, large ones streamed to a spool, each hashed and checked as it arrives."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from operators.storage import Storage, is_within, parent, resolve, scheme
from schemas.errors import AssetError, ErrorCode, Stage, UsageError

SMALL_BYTES = 4 << 20
GROUP_BYTES = 32 << 20
SPOOL_BYTES = 64 << 20
_COPY_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
    """An asset to fetch, as the listing saw it."""

    uri: str
    source: str
    size: int | None
    inline: bytes | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """An asset's bytes, seekable, and the sha256 of them."""

    file: BinaryIO
    content_hash: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """Reads assets, and only from the roots that their source grants.

    `grants` maps a source to its roots: a manifest cannot read what nobody allowed it to.
    """

    storage: Storage
    grants: dict[str, tuple[str, ...]]
    max_bytes: int

    def fetch_all(self, wanted: list[Wanted]) -> Iterator[tuple[int, Fetched | AssetError]]:
        """Every asset in order, with its index; small neighbours are read in one concurrent request group."""
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

    def _read_small(self, assets: list[Wanted]) -> list[bytes | BaseException]:
        """The bodies in the order of the assets; each scheme has its own filesystem and request group."""
        bodies: dict[int, bytes | BaseException] = {}
        for kind in {scheme(a.uri) for a in assets}:
            where = [i for i, a in enumerate(assets) if scheme(a.uri) == kind]
            bodies.update(zip(where, self._read_group([assets[i].uri for i in where]), strict=True))
        return [bodies[i] for i in range(len(assets))]

    def _read_group(self, uris: list[str]) -> list[bytes | BaseException]:
        fs, _ = self.storage.filesystem(uris[0])
        paths = [self.storage.filesystem(uri)[1] for uri in uris]
        if len(paths) == 1 or not fs.async_impl:
            return [_read(fs, path) for path in paths]
        # Not `cat`: it takes brackets and stars in a key for a pattern.
        found: list[bytes | BaseException] = fs.cat_ranges(paths, None, None, on_error="return")
        return found

    def _one(self, asset: Wanted) -> Fetched:
        if asset.inline is not None:
            return Fetched(
                io.BytesIO(asset.inline), hashlib.sha256(asset.inline).hexdigest(), len(asset.inline)
            )
        return self._stream(asset)

    def _checked(self, asset: Wanted, body: bytes | BaseException) -> Fetched:
        if isinstance(body, BaseException):
            raise _asset_error(body, asset.uri)
        if asset.size is not None and len(body) != asset.size:
            raise _changed(asset, len(body))
        return Fetched(io.BytesIO(body), hashlib.sha256(body).hexdigest(), len(body))

    def _allowed(self, asset: Wanted) -> bool:
        return any(is_within(asset.uri, root) for root in self.grants.get(asset.source, ()))

    def _stream(self, asset: Wanted) -> Fetched:
        if not self._allowed(asset):
            detail = f"{asset.uri} is outside the allowed roots of {asset.source}; allow it with --allow ROOT"
            raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, detail, Stage.FETCH)
        if (asset.size or 0) > self.max_bytes:
            raise self._too_large(f"{asset.size} bytes")
        spool = cast(BinaryIO, tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES))  # noqa: SIM115 (the asset closes it)
        try:
            fs, path = self.storage.filesystem(asset.uri)
            with fs.open(path, "rb", block_size=8 << 20) as remote:
                size = _copy(cast(BinaryIO, remote), spool, self.max_bytes + 1)
        except Exception as error:
            raise _asset_error(error, asset.uri) from error
        if size > self.max_bytes:
            raise self._too_large(f"more than {self.max_bytes} bytes")
        spool.seek(0)
        if asset.size is not None and size != asset.size:
            raise _changed(asset, size)
        digest = _digest(spool)
        return Fetched(spool, digest, size)

    def _too_large(self, size: str) -> AssetError:
        detail = f"{size}, the recipe's max_asset_bytes is {self.max_bytes}"
        return AssetError(ErrorCode.TOO_LARGE, detail, Stage.FETCH)


def _copy(remote: BinaryIO, spool: BinaryIO, limit: int) -> int:
    copied = 0
    while block := remote.read(min(_COPY_BYTES, limit - copied)):
        spool.write(block)
        copied += len(block)
    return copied


def _digest(file: BinaryIO) -> str:
    state = hashlib.sha256()
    while block := file.read(_COPY_BYTES):
        state.update(block)
    file.seek(0)
    return state.hexdigest()


def _read(fs: Any, path: str) -> bytes | BaseException:
    try:
        return bytes(fs.cat_file(path))
    except Exception as error:
        return error


def _changed(asset: Wanted, size: int) -> AssetError:
    detail = f"{size} bytes read, {asset.size} listed: the object changed or its body was cut"
    return AssetError(ErrorCode.CHANGED, detail, Stage.FETCH)


def _asset_error(error: BaseException, uri: str) -> AssetError:
    if isinstance(error, AssetError):
        return error
    text = " ".join(str(error).split())[:300]
    if isinstance(error, FileNotFoundError):
        return AssetError(ErrorCode.NOT_FOUND, f"no such object: {uri}", Stage.FETCH)
    if isinstance(error, IsADirectoryError):
        return AssetError(ErrorCode.NOT_FOUND, f"a folder, not an object: {uri}", Stage.FETCH)
    if isinstance(error, PermissionError):
        return AssetError(ErrorCode.ACCESS_DENIED, text or "permission denied", Stage.FETCH)
    return AssetError(ErrorCode.STORAGE, f"{type(error).__name__}: {text}", Stage.FETCH)
