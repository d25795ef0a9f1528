"""S3 as coroutines: each request is tried again while its fault is transient, and each body is what was listed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import aiohttp
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from fsspec.asyn import sync
from s3fs import S3FileSystem

from operators.faults import BrokenAnswer, Fault, Read, Stat, StorageFault, code_of, tried
from operators.pages import Page, page_of, read_pages
from schemas.config import StorageConfig

T = TypeVar("T")
_EXISTS = ("PreconditionFailed", "412")
_RANGE_BYTES = 8 << 20
_RANGES_AT_ONCE = 4
_RACING = "ConditionalRequestConflict"


@dataclass(frozen=True, slots=True)
class S3:
    """An endpoint. Every coroutine raises `StorageFault` when its tries are used up."""

    fs: S3FileSystem
    config: StorageConfig

    def run(self, request: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
        """Wait for a coroutine of this class in any thread but fsspec's own."""
        done: T = sync(self.fs.loop, request, *args)
        return done

    def read_many(self, reads: Sequence[Read]) -> list[bytes | StorageFault]:
        """Whole objects or ranges in order; each is read or failed."""
        return self._many([partial(self.body, read) for read in reads])

    def stat_many(self, uris: Sequence[str]) -> list[Stat | StorageFault]:
        """What S3 says of each object, in order."""
        return self._many([partial(self.stat, uri) for uri in uris])

    def blocks(self, read: Read) -> Iterator[bytes]:
        """An object's bytes, in ranges of the version that is there at the start.

        Raises:
            StorageFault: it cannot be read, or is not what `read` says.
        """
        if read.etag is None or read.size is None:
            now = self.run(self.stat, read.uri)
            _check(read, now.etag, now.size)
            read = replace(read, etag=now.etag, size=now.size)
        size = read.size or 0
        step = _RANGE_BYTES * _RANGES_AT_ONCE
        for first in range(0, size, step):
            starts = range(first, min(first + step, size), _RANGE_BYTES)
            ranges = [replace(read, start=at, size=min(_RANGE_BYTES, size - at)) for at in starts]
            for block in self.read_many(ranges):
                if isinstance(block, StorageFault):
                    raise block
                yield block

    def _many(self, requests: Sequence[Callable[[], Awaitable[T]]]) -> list[T | StorageFault]:
        return [_settled(found) for found in self.run(self.many, requests)]

    async def many(self, requests: Sequence[Callable[[], Awaitable[T]]]) -> list[T | BaseException]:
        """Answers or errors in order, so many requests at a time as the config says."""
        slots = asyncio.Semaphore(self.config.concurrency)

        async def one(request: Callable[[], Awaitable[T]]) -> T:
            async with slots:
                return await request()

        return await asyncio.gather(*(one(request) for request in requests), return_exceptions=True)

    async def body(self, read: Read) -> bytes:
        """The bytes of an object or of a range of it."""

        async def request() -> bytes:
            where = _where(read.uri)
            if read.start is not None and read.size is not None:
                where["Range"] = f"bytes={read.start}-{read.start + read.size - 1}"
            with _understood():
                answer = await (await self.fs.set_session()).get_object(**where)
                async with answer["Body"] as stream:
                    _check(read, _tag(answer), answer.get("ContentLength"))
                    data = bytes(await stream.read())
            _check(read, _tag(answer), len(data))
            return data

        return await tried(self.config, read.uri, request)

    async def stat(self, uri: str) -> Stat:
        """An object's size, etag and time of change."""

        async def request() -> Stat:
            with _understood():
                answer = await (await self.fs.set_session()).head_object(**_where(uri))
            return Stat(int(answer["ContentLength"]), _tag(answer), answer.get("LastModified"))

        return await tried(self.config, uri, request)

    async def page(
        self, bucket: str, prefix: str, delimiter: str = "", after: str = "", token: str | None = None
    ) -> Page:
        """One page of a bucket's keys that start with `prefix`, from the first after `after`."""
        start = {"ContinuationToken": token} if token else {"StartAfter": after} if after else {}
        split = {"Delimiter": delimiter} if delimiter else {}

        async def request() -> Page:
            with _understood():
                client = await self.fs.set_session()
                read_pages(client)
                answer = await client.list_objects_v2(Bucket=bucket, Prefix=prefix, **start, **split)
            return page_of(answer)

        return await tried(self.config, f"s3://{bucket}/{prefix}", request)

    async def names(self, bucket: str, prefix: str) -> list[str]:
        """The names of objects and folders directly below a prefix that ends in `/` or is empty."""
        found: list[str] = []
        token: str | None = None
        while True:
            page = await self.page(bucket, prefix, delimiter="/", token=token)
            found += [key[len(prefix) :].rstrip("/") for key in (*page.keys, *page.prefixes)]
            token = page.token
            if token is None:
                return sorted(name for name in found if name)

    async def put(self, uri: str, data: bytes) -> None:
        """Write an object."""

        async def request() -> None:
            with _understood():
                await (await self.fs.set_session()).put_object(**_where(uri), Body=data)

        await tried(self.config, uri, request)

    async def create(self, uri: str, data: bytes) -> bool:
        """Write an object unless there is one. A write whose answer was lost is recognised by reading it back.

        Even a first refusal may be of this very write: aiohttp repeats a PUT by itself when a kept connection ends.
        """

        async def request() -> bool:
            try:
                with _understood():
                    client = await self.fs.set_session()
                    await client.put_object(**_where(uri), Body=data, IfNoneMatch="*")
            except ClientError as error:
                if code_of(error) not in _EXISTS:
                    raise
                return await self._holds(uri, data)
            return True

        try:
            return await tried(self.config, uri, request)
        except StorageFault as fault:
            if await self._holds(uri, data):
                return True
            if code_of(fault) == _RACING:
                return False
            raise

    async def _holds(self, uri: str, data: bytes) -> bool:
        try:
            return await self.body(Read(uri)) == data
        except StorageFault:
            return False

    async def refuses_credentials(self, bucket: str) -> bool:
        """Whether the bucket as a whole refuses these credentials, and not just one odd key."""
        try:
            await self.page(bucket, "")
        except StorageFault as fault:
            return fault.fault is Fault.CREDENTIALS
        return False


@contextmanager
def _understood() -> Iterator[None]:
    """Two libraries' words for an answer that broke off."""
    try:
        yield
    except (aiohttp.ClientError, ResponseParserError) as error:
        raise BrokenAnswer(f"{type(error).__name__}: {error}") from error


def _settled(found: T | BaseException) -> T | StorageFault:
    if isinstance(found, BaseException) and not isinstance(found, StorageFault):
        raise found
    return found


def _where(uri: str) -> dict[str, str]:
    bucket, _, key = uri[5:].partition("/")
    return {"Bucket": bucket, "Key": key}


def _tag(answer: dict[str, Any]) -> str | None:
    return answer["ETag"].strip('"') if answer.get("ETag") else None


def _check(read: Read, etag: str | None, size: int | None) -> None:
    if read.etag is not None and etag != read.etag:
        raise StorageFault(
            Fault.CHANGED, read.uri, f"changed since it was listed: etag {etag}, was {read.etag}"
        )
    if read.size is None or size is None or size == read.size:
        return
    what = f"{size} bytes read, {read.size} listed"
    if read.etag is not None:
        raise BrokenAnswer(what)
    raise StorageFault(
        Fault.CHANGED, read.uri, f"{what}: the object changed, or the manifest's size is wrong"
    )
