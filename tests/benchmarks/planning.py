"""`python -m tests.benchmarks.planning`: a night over objects that the lake knows already, by their number.

The listing is synthetic, all else is the real run: the lake is opened, the assets are read, the diff is made, and
the run ends because nothing has changed. Every size runs in a process of its own; the peak is that process' RSS.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from operators.sources.listing import Listed
from operators.storage import Storage
from pipelines import embed
from pipelines.embed import EmbedJob
from pipelines.ledger import Ledger
from schemas.catalog import Published
from schemas.tables import ASSETS, LISTING
from tests.models.hashed import HashSpec

SOURCE = "s3://a-bucket/some/prefix"
SIZES = (100_000, 1_000_000)
TIME = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Measure every size, print the table and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--one", nargs=2, metavar=("OBJECTS", "LAKE"), help="measure one size in this process"
    )
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(plan_known(int(arguments.one[0]), arguments.one[1])))
        return
    table = Table(
        "objects", "seconds", "microseconds an object", "peak MB", title="planning a night of known objects"
    )
    for measured in map(measure, arguments.objects):
        per_object = measured["seconds"] / measured["objects"] * 1e6
        figures = (
            f"{measured['objects']:,}",
            f"{measured['seconds']:.1f}",
            f"{per_object:.1f}",
            f"{measured['mb']:.0f}",
        )
        table.add_row(*figures)
        print(json.dumps(measured), file=sys.stderr)
    Console().print(table)


def measure(objects: int) -> dict[str, Any]:
    """One size in a process of its own, over a lake that is made here."""
    with tempfile.TemporaryDirectory() as folder:
        lake = str(Path(folder) / "lake")
        make_lake(lake, objects)
        command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--one", str(objects), lake]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def plan_known(objects: int, lake: str) -> dict[str, Any]:
    """Seconds of the run but for making the listing, and the process' peak."""
    listed = Listed(SOURCE, listing(objects), (SOURCE,))
    embed.list_sources = lambda *_: [listed]
    started = time.perf_counter()
    report = job(lake).run()
    seconds = time.perf_counter() - started
    if (report.counts.unchanged, report.published_version) != (objects, None):
        raise AssertionError(report)
    return {"objects": objects, "seconds": seconds, "mb": _peak_mb(), "laps": report.seconds}


def _peak_mb() -> float:
    """The most this process ever held; not `ru_maxrss`, which a process takes over from its parent."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    if found is None:
        raise OSError("/proc/self/status has no VmHWM: this benchmark needs Linux")
    return int(found[1]) / 1024


def job(lake: str) -> EmbedJob:
    """The night."""
    return EmbedJob(sources=(SOURCE,), lake=lake, spec=HashSpec(), corpus="c")


def listing(objects: int) -> pa.Table:
    """So many objects as S3 lists them."""
    columns: dict[str, Any] = {
        "uri": [f"{SOURCE}/{n % 977:03d}/object-number-{n:010d}.jpg" for n in range(objects)],
        "source": pa.repeat(SOURCE, objects),
        "size": [1_000 + n % 100_003 for n in range(objects)],
        "etag": [f"{n * 2654435761 % 2**128:032x}" for n in range(objects)],
        "mtime": pa.repeat(pa.scalar(TIME, LISTING.field("mtime").type), objects),
    }
    nothing = pa.nulls(objects, LISTING.field("inline").type)
    return pa.table({f.name: columns.get(f.name, nothing) for f in LISTING}, schema=LISTING)


def make_lake(lake: str, objects: int) -> None:
    """A lake whose assets are all known and embedded; the space has no rows, which planning does not read."""
    storage, one = Storage(), job(lake)
    ledger = Ledger.begin(lake, "c", one.space, [], storage)
    table = ledger.assets_table
    version = table.commit("r1", ledger.state.assets_version, table.stage(known(listing(objects))), [])
    change = Published(
        corpus="c",
        space=one.space.id,
        space_version=ledger.space_version,
        assets_version=version,
        run_id="r1",
        at=TIME,
    )
    ledger.announce(change)


def known(objects: pa.Table) -> pa.Table:
    """The rows of `assets` of embedded objects."""
    count = objects.num_rows
    fixed: dict[str, Any] = {
        "content_hash": [f"{n:064x}" for n in range(count)],
        "modality": pa.repeat("image", count),
        "media_type": pa.repeat("image/jpeg", count),
        "status": pa.repeat("embedded", count),
        "segments": pa.array([1] * count, pa.int32()),
        "tokens": pa.array([64] * count, pa.int64()),
        "run_id": pa.repeat("r1", count),
    }
    columns = {
        f.name: objects[f.name]
        if f.name in objects.column_names
        else fixed.get(f.name, pa.nulls(count, f.type))
        for f in ASSETS
    }
    return pa.table(columns, schema=ASSETS)


if __name__ == "__main__":
    main()
