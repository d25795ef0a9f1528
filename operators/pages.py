"""Pages of an S3 listing without botocore's parser, which takes 0.14 ms of CPU for each key: 140 s for a million."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus
from xml.etree import ElementTree

from operators.faults import BrokenAnswer

_BODY = b"<ListBucketResult/>"


@dataclass(frozen=True, slots=True)
class Page:
    """At most 1,000 keys in the server's order, one list for each attribute; `token` is None on the last page."""

    keys: list[str]
    sizes: list[int]
    etags: list[str | None]
    times_ms: list[int]
    prefixes: list[str]
    token: str | None


def read_pages(client: Any) -> None:
    """Make a botocore client answer `list_objects_v2` with a `Page` under `Page`, and with nothing else."""
    # The wildcard puts it before botocore's own handler, which would parse the whole body too.
    client.meta.events.register("before-parse.*.ListObjectsV2", _replace, unique_id="embedlake-pages")


def page_of(answer: dict[str, Any]) -> Page:
    """The page of such a client's answer.

    Raises:
        BrokenAnswer: it is no listing, or says that more follows and not where.
    """
    page: Page | None = answer.get("Page")
    if page is None or page.token == "":
        raise BrokenAnswer("not a list of objects")
    return page


def _replace(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    if response_dict["status_code"] != 200:
        return
    try:
        root = ElementTree.fromstring(response_dict["body"])  # noqa: S314 (botocore parses the same bytes so)
    except ElementTree.ParseError:  # botocore makes a 500 of it
        return
    if root.tag.endswith("ListBucketResult"):
        customized_response_dict["Page"] = _page(root)
        response_dict["body"] = _BODY


def _page(root: ElementTree.Element) -> Page:
    space = root.tag.removesuffix("ListBucketResult")
    key, size, etag, time = (space + name for name in ("Key", "Size", "ETag", "LastModified"))
    decoded = _decoded if root.findtext(space + "EncodingType") == "url" else str
    keys, sizes, etags, times = [], [], [], []
    for entry in root.iterfind(space + "Contents"):
        found = {field.tag: field.text or "" for field in entry}
        keys.append(decoded(found[key]))
        sizes.append(int(found[size]))
        etags.append(found.get(etag, "").strip('"') or None)
        times.append(int(datetime.fromisoformat(found[time]).timestamp() * 1000))
    names = [entry.findtext(space + "Prefix") or "" for entry in root.iterfind(space + "CommonPrefixes")]
    more = root.findtext(space + "IsTruncated") == "true"
    return Page(
        keys=keys,
        sizes=sizes,
        etags=etags,
        times_ms=times,
        prefixes=[decoded(name) for name in names],
        token=root.findtext(space + "NextContinuationToken", "") if more else None,
    )


def _decoded(key: str) -> str:
    folder, slash, name = key.rpartition("/")
    return _decoded_part(folder) + slash + (unquote_plus(name) if "%" in name or "+" in name else name)


@lru_cache(maxsize=4096)
def _decoded_part(folder: str) -> str:
    return unquote_plus(folder)
