"""`python -m tests.benchmarks.peers.child WAY WORKLOAD CORPUS OUT LOG`: one way, once, in a process of its own."""

from __future__ import annotations

import sys
import time
from importlib import import_module
from pathlib import Path

from tests.benchmarks.peers.work import Work

WAYS = {
    "embedlake": "ours:embedlake",
    "daft": "on_daft:daft_udf",
    "daft on ray": "on_daft:daft_on_ray",
    "daft, own way": "own_way:daft_own",
    "daft, stock": "stock:daft_stock",
    "ray data": "on_ray:ray_data",
    "script": "in_script:script",
    "sentence-transformers": "own_way:sentence_transformers",
}
"""`module:function` of each."""


def main() -> None:
    """Run the way; when its output is written, say so beside the log."""
    way, workload, corpus, out, log = sys.argv[1:]
    module, _, function = WAYS[way].partition(":")
    run = getattr(import_module(f"tests.benchmarks.peers.{module}"), function)
    run(Work(workload, corpus, out, log))
    Path(log).with_suffix(".end").write_text(str(time.monotonic()))


if __name__ == "__main__":
    main()
