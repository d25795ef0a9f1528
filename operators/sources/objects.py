"""Objects as fsspec describes them, as rows of the `LISTING` table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from schemas.tables import LISTING


def object_rows(infos: list[tuple[str, dict[str, Any]]], source: str) -> pa.Table:
    """A `LISTING` table from fsspec's infos."""
    return pa.table(
        {
            "uri": [uri for uri, _ in infos],
            "source": [source] * len(infos),
            "size": [info.get("size") for _, info in infos],
            "etag": [_etag(info) for _, info in infos],
            "mtime": [_mtime(info) for _, info in infos],
            "inline": pa.nulls(len(infos), pa.large_binary()),
        },
        schema=LISTING,
    )


def _etag(info: dict[str, Any]) -> str | None:
    """What changes when the object does: S3's own tag, or a local file's exact time of change."""
    if "ETag" in info:
        return str(info["ETag"]).strip('"')
    return f"mtime-{info['mtime']!r}" if "mtime" in info else None


def _mtime(info: dict[str, Any]) -> datetime | None:
    value = info.get("LastModified", info.get("mtime"))
    if isinstance(value, (int, float)):
        return datetime.fromtimestamp(value, UTC)
    return value if isinstance(value, datetime) else None
