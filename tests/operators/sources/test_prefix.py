"""A prefix is listed whole, whatever its keys, however it is cut, and in memory that Arrow needs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import operators.sources.prefix as module
from operators.faults import Fault, StorageFault
from operators.pages import Page
from operators.sources.prefix import Prefix
from schemas.config import StorageConfig
from tests.operators.sources.canned import Answer, canned, refusal
from tests.operators.sources.synthetic import REPO, key, listing_server


class Server:
    """`ListObjectsV2` over a list of keys, in the order of the list: the lowest level that a listing is made of."""

    def __init__(self, keys: list[str], page_keys: int = 3) -> None:
        self.keys = keys
        self.page_keys = page_keys
        self.config = StorageConfig()
        self.pages = self.under_way = self.most_at_once = 0

    def run(self, request: Any) -> Any:
        return asyncio.run(request())

    async def page(
        self, bucket: str, prefix: str, delimiter: str = "", after: str = "", token: str | None = None
    ) -> Page:
        self.pages += 1
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        await asyncio.sleep(0)
        self.under_way -= 1
        at = int(token) if token else self._place(after)
        found: list[str] = []
        folders: list[str] = []
        while at < len(self.keys) and len(found) + len(folders) < self.page_keys:
            name = self.keys[at]
            head, cut, _ = name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if name.startswith(prefix):
                if not cut:
                    found.append(name)
                elif (folder := prefix + head + cut) not in folders:
                    folders.append(folder)
            at += 1
        more = str(at) if at < len(self.keys) else None
        return Page(found, [1] * len(found), ["e"] * len(found), [0] * len(found), folders, more)

    def _place(self, after: str) -> int:
        """The first key of the list's order behind the mark; the mark may be no key."""
        if self.keys == sorted(self.keys):
            return sum(name <= after for name in self.keys)
        return sum(by_folder(name) <= by_folder(after) for name in self.keys)


def by_folder(name: str) -> list[str]:
    """The order of a server that walks folders: `a/x` before `a.txt`, which S3 lists the other way round."""
    return name.split("/")


def listed(server: Server, source: str = "s3://b/pre", skipped: str | None = None) -> list[str]:
    return Prefix(server, source, skipped).table()["uri"].to_pylist()  # type: ignore[arg-type]


NAMES = st.lists(st.sampled_from(["a", "a.txt", "a-b", "b", "b!", "c", "é", "z z"]), min_size=1, max_size=4)
TREES = st.sets(NAMES.map(lambda parts: "pre/" + "/".join(parts)), max_size=60)


@settings(deadline=None, max_examples=300)
@given(keys=TREES, cut=st.booleans())
def test_every_key_is_listed_once_and_in_order_however_the_prefix_is_cut(keys: set[str], cut: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ALONE_PAGES", 1 if cut else 1000)
        assert listed(Server(sorted(keys))) == [f"s3://b/{name}" for name in sorted(keys)]


@settings(deadline=None, max_examples=300)
@given(keys=TREES)
def test_a_server_with_an_order_of_its_own_loses_nothing(keys: set[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_ALONE_PAGES", 1)
        found = listed(Server(sorted(keys, key=by_folder)))
    assert sorted(found) == [f"s3://b/{name}" for name in sorted(keys)]


def test_a_large_prefix_is_listed_side_by_side_at_the_cost_of_few_more_pages() -> None:
    server = Server([f"pre/{day:03d}/{n:03d}" for day in range(200) for n in range(200)], page_keys=100)
    assert len(listed(server)) == 40_000
    assert server.most_at_once > 16
    assert server.pages < 1.25 * 400


def test_a_small_prefix_costs_no_more_than_its_pages() -> None:
    server = Server([f"pre/{day}/{n}" for day in range(10) for n in range(70)], page_keys=100)
    assert len(listed(server)) == 700
    assert server.pages == 7


def test_a_page_that_cannot_be_read_is_an_error_and_no_shorter_listing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ALONE_PAGES", 1)
    server = Server([f"pre/{n // 5}/{n}" for n in range(50)])
    page = server.page

    async def failing(*args: Any, **named: Any) -> Page:
        if server.pages == 12:
            raise StorageFault(Fault.TRANSIENT, "s3://b/pre", "SlowDown")
        return await page(*args, **named)

    monkeypatch.setattr(server, "page", failing)
    with pytest.raises(StorageFault, match="SlowDown"):
        listed(server)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")


def answer(*entries: tuple[str, int], more: str = "<IsTruncated>false</IsTruncated>") -> Answer:
    body = "".join(
        f"<Contents><Key>{name}</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"
        f'<ETag>"e"</ETag><Size>{size}</Size></Contents>'
        for name, size in entries
    )
    return Answer(
        200,
        f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<EncodingType>url</EncodingType>{more}{body}</ListBucketResult>".encode(),
    )


@pytest.mark.usefixtures("keys")
def test_markers_of_folders_are_no_assets_and_odd_keys_are_themselves() -> None:
    page = answer(
        ("pre/", 0),
        ("pre/folder/", 0),
        ("pre/folder/a+b%26c.txt", 1),
        ("pre/full/", 3),
        ("pre/a%2F%2Fb", 1),
        ("pre//c", 1),
        ("pre/100%25+%23%3F%5B1%5D", 1),
        ("pre/%C3%A9%01%0A", 1),
        ("pre/.hidden/x", 1),
        ("pre/empty", 0),
    )
    with canned(lambda *_: page) as server:
        table = Prefix(server.storage().s3(), "s3://b/pre").table()
    names = [uri.removeprefix("s3://b/pre/") for uri in table["uri"].to_pylist()]
    assert names == ["folder/a b&c.txt", "full/", "a//b", "/c", "100% #?[1]", "é\x01\n", "empty"]
    assert table["mtime"][0].as_py().isoformat() == "2026-01-02T03:04:05.678000+00:00"
    assert table["etag"][0].as_py() == "e"


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    "broken",
    [
        Answer(200, b"<ListBucketResult><Contents><Key>pre/a"),
        Answer(200, b"<html>please log in</html>"),
        Answer(200, b""),
        answer(("pre/a", 1), more="<IsTruncated>true</IsTruncated>"),
        refusal(503, "SlowDown"),
    ],
)
def test_a_page_that_is_no_page_is_asked_for_again(broken: Answer) -> None:
    answers = iter([broken, answer(("pre/a", 1))])
    with canned(lambda *_: next(answers)) as server:
        assert Prefix(server.storage().s3(), "s3://b/pre").table().num_rows == 1


MEASURE = """
import re, sys, time
from pathlib import Path
from operators.sources.listing import list_source
from operators.storage import Storage
from schemas.config import StorageConfig
def peak():  # not `ru_maxrss`: a process takes over its parent's
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10
storage = Storage(StorageConfig(endpoint_url=sys.argv[1], region="us-east-1"))
storage.s3()
before, started = peak(), time.process_time()
table = list_source("s3://bucket/data", storage).table
print(table.num_rows, table["uri"][-1], time.process_time() - started, peak() - before, table.nbytes >> 20)
"""


def measured(count: int) -> tuple[float, int, int]:
    """CPU seconds, growth of the peak RSS and Arrow's size in MiB, of a listing in a process of its own."""
    with listing_server(count) as url:
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, url], cwd=REPO, capture_output=True, text=True, check=True
        )
    rows, last, seconds, grown, size = done.stdout.split()
    assert (int(rows), last) == (count, f"s3://bucket/{key(count - 1)}")
    return float(seconds), int(grown), int(size)


@pytest.mark.usefixtures("keys")
def test_listing_holds_little_more_than_its_table() -> None:
    _, grown, _ = measured(100_000)
    assert grown < 200


@pytest.mark.slow
@pytest.mark.usefixtures("keys")
def test_a_million_objects_are_listed_in_bounded_memory_and_linear_time() -> None:
    small, large = measured(100_000), measured(1_000_000)
    print(f"CPU s, RSS MiB, Arrow MiB: {small} at 100,000, {large} at 1,000,000")
    assert large[1] < 600
    assert large[0] < 14 * small[0]
