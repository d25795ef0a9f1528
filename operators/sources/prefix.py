"""List an S3 prefix: pages as they come, and ranges of a large prefix side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import pyarrow as pa

from operators.pages import Page
from operators.sources.objects import Rows, united

if TYPE_CHECKING:
    from operators.s3 import S3

_ALONE_PAGES = 8
_MOST_RANGES = 32
_MOST_LEVELS = 6


class _Unordered(Exception):
    """The server does not list in the order of the keys' bytes, so ranges of keys would lose some."""


class Prefix:
    """The assets below `s3://<bucket>/<key>/`, or in the whole bucket when `key` is empty.

    Markers of folders (empty objects whose key ends in `/`) and keys with a part that starts with a dot are no
    assets, nor is what starts with `skipped`.

    A prefix of more than 8 pages is cut at the folders ahead, and the ranges between the cuts are listed side by
    side. S3 lists in the order of the keys' bytes; a server that does not is listed page after page.
    """

    def __init__(self, s3: S3, source: str, skipped: str | None = None) -> None:
        self.s3 = s3
        self.source = source
        self.bucket, _, key = source[5:].partition("/")
        self.start = f"{key}/" if key else ""
        self.skipped = skipped
        self.empty = True
        self._slots = asyncio.Semaphore(s3.config.concurrency)

    def table(self) -> pa.Table:
        """Every asset as a `LISTING` table; `empty` then tells whether there was no key at all.

        Raises:
            StorageFault: a page cannot be read: a listing is whole or none.
        """
        return united(self.s3.run(self._listed))

    async def _listed(self) -> list[pa.RecordBatch]:
        try:
            return await self._range("", None, _ALONE_PAGES)
        except Exception as error:
            leaf = _leaf(error)
            if not isinstance(leaf, _Unordered):
                raise leaf from None
        return await self._range("", None, None)

    async def _range(self, after: str, stop: str | None, alone: int | None) -> list[pa.RecordBatch]:
        """Batches of the keys after `after`, up to and with `stop`; every `alone` pages a cut is tried."""
        rows = Rows(self.source)
        last, pages, ordered, token = after, 0, True, None
        while True:
            page = await self._page(self.start, after="" if token else after, token=token)
            self.empty = self.empty and not page.keys
            self._add(rows, page, stop)
            ordered = ordered and _ascends([last, *page.keys])
            if not ordered and (after or stop is not None):
                raise _Unordered
            last, token, pages = (page.keys or [last])[-1], page.token, pages + 1
            if token is None or (stop is not None and last >= stop):
                return rows.batches
            if ordered and pages == alone:
                if cuts := await self._cuts(last, stop):
                    return rows.batches + await self._side_by_side([last, *cuts, stop], alone * _ALONE_PAGES)
                alone *= 2

    async def _side_by_side(self, cuts: Sequence[str | None], alone: int) -> list[pa.RecordBatch]:
        async with asyncio.TaskGroup() as group:
            ranges = [
                group.create_task(self._range(after or "", stop, alone)) for after, stop in pairwise(cuts)
            ]
        return [batch for one in ranges for batch in one.result()]

    async def _cuts(self, last: str, stop: str | None) -> list[str]:
        """Folders after `last`: those beside the folders that it lies in, from the root of the listing down."""
        levels = [""]
        for folder in last[len(self.start) :].split("/")[:-1][: _MOST_LEVELS - 1]:
            levels.append(f"{levels[-1]}{folder}/")
        pages = [await self._page(self.start + level, delimiter="/", after=last) for level in levels]
        if not all(_ascends(page.prefixes) for page in pages):
            return []
        ahead = sorted({name for page in pages for name in page.prefixes if name > last})
        cuts = [name for name in ahead if stop is None or name < stop]
        return cuts[:: -(-len(cuts) // _MOST_RANGES)] if cuts else []

    async def _page(
        self, prefix: str, delimiter: str = "", after: str = "", token: str | None = None
    ) -> Page:
        async with self._slots:
            return await self.s3.page(self.bucket, prefix, delimiter, after, token)

    def _add(self, rows: Rows, page: Page, stop: str | None) -> None:
        for key, size, etag, time_ms in zip(page.keys, page.sizes, page.etags, page.times_ms, strict=True):
            if stop is not None and key > stop:
                break
            below = key[len(self.start) :]
            marker = not below or (size == 0 and key.endswith("/"))
            hidden = below.startswith(".") or "/." in below
            if not (marker or hidden or (self.skipped is not None and key.startswith(self.skipped))):
                rows.add(f"s3://{self.bucket}/{key}", size, etag, time_ms)
        rows.flush()


def _ascends(keys: Sequence[str]) -> bool:
    return all(a < b for a, b in pairwise(keys))


def _leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
