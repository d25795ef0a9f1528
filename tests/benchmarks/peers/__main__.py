"""`python -m tests.benchmarks.peers`: embedlake beside Daft, raw Ray Data and plain scripts.

Every run is a fresh process, on an eighth of a corpus and on all of it. `rows/s` and `CPU ms` are of the rows between
the two: what a start costs, and what a way decodes before its model is loaded, is in both. `with start` is of all, from
the process' start to its end. CPU is of all processes together, and what can be trusted on a busy machine; memory is
what is their own, shared pages by share. A rate is `nan` where the rows take less than two starts differ by: give more
`--rows`.
"""

from __future__ import annotations

import argparse
import platform
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console

from pipelines.engine.cluster import cores
from tests.benchmarks.peers.corpora import make
from tests.benchmarks.peers.measure import OWN_WAY, SAME_WORK, killed, night, rounds
from tests.benchmarks.peers.show import document
from tests.benchmarks.results import keep

FILES = {"images": 240, "documents": 80, "audio": 48, "videos": 24, "mixed": 60}
TRIALS = {"night": "images", "kill": "images"}


def main() -> None:
    """Measure, print Markdown, write the JSON."""
    arguments = parse()
    console = Console(stderr=True)
    found: dict[str, Any] = {"machine": machine(), "workloads": []}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for workload in [name for name in FILES if name in arguments.only]:
            files = arguments.rows or FILES[workload]
            small, corpus = (make(home / "corpora", workload, count) for count in (files // 8, files))
            ways = tuple(w for w in (*SAME_WORK, *OWN_WAY.get(workload, ())) if w in (arguments.ways or (w,)))
            measured = rounds(
                workload, (small, corpus), home / workload, ways, arguments.rounds, console.print
            )
            found["workloads"].append(measured)
            keep("peers", found)
        for trial, measure in (("night", night), ("kill", killed)):
            if trial in arguments.only:
                corpus = make(home / "corpora", TRIALS[trial], arguments.rows or FILES[TRIALS[trial]])
                found[trial] = measure(TRIALS[trial], corpus, home / trial, console.print)
                keep("peers", found)
    print(document(found))


def machine() -> dict[str, Any]:
    """Where it ran, and beside which versions."""
    from importlib.metadata import version

    versions = {
        name: version(name) for name in ("daft", "ray", "sentence-transformers", "ctranslate2", "torch")
    }
    return {"python": platform.python_version(), "machine": platform.machine(), "cores": cores(), **versions}


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.peers", description=__doc__)
    everything = [*FILES, *TRIALS]
    parser.add_argument("--only", nargs="+", choices=everything, default=everything)
    parser.add_argument("--rows", type=int, help="files of each corpus")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ways", nargs="+", help="only these")
    return parser.parse_args()


if __name__ == "__main__":
    main()
