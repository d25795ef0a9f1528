"""Where a run's CPU time goes: `python -m tests.benchmarks.profile` (needs `py-spy`, and the right to trace).

A mixed corpus of photographs and texts goes through a whole run twice: once to count the CPU seconds of each kind of
process, the start's taken off, and once under a sampling profiler that follows every process of it. The flame graph is
`results/flame.svg`; samples of waiting threads are not in it.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from operators.model.registry import DEFAULT_MODEL, resolve
from pipelines.embed import EmbedJob
from tests.benchmarks.corpus import make_corpus
from tests.benchmarks.meter import Spent, metered
from tests.benchmarks.results import RESULTS

FLAME = RESULTS / "flame.svg"
_START = 8
_SAMPLES_A_SECOND = 25
_LEAST_PERCENT = 0.5
_FRAME = r"<g><title>[^<]*samples, ([0-9.]+)%\)</title>.*?</g>"
_TITLE = r'(<text id="title"[^>]*>)[^<]*'
_PROCESS = r"process [0-9]+:&quot;[^<]*?(&quot;|\.\.(?=<))"


def main() -> None:
    """Measure, print the table, draw the flame graph."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.profile", description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--one", nargs=2, metavar=("SOURCE", "LAKE"), help="one run, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        source, lake = arguments.one
        EmbedJob(sources=(source,), lake=lake, spec=resolve(arguments.model), corpus="c").run()
        return
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        command = [sys.executable, "-m", "tests.benchmarks.profile", "--model", arguments.model, "--one"]
        start = metered([*command, make_corpus(home / "start", _START, _START), str(home / "lake0")])
        source = make_corpus(home / "full", arguments.images, arguments.texts)
        show(start, metered([*command, source, str(home / "lake1")]), arguments.images + arguments.texts)
        draw([*command, source, str(home / "lake2")])


def show(start: Spent, spent: Spent, assets: int) -> None:
    """CPU seconds of each kind of process: of the start, of the assets, and of one asset."""
    table = Table("processes", "start, CPU s", "assets, CPU s", "ms an asset", "share", box=None)
    more = {role: max(0.0, seconds - start.roles.get(role, 0.0)) for role, seconds in spent.roles.items()}
    for role, seconds in sorted(more.items(), key=lambda item: -item[1]):
        share = f"{seconds / sum(more.values()):.0%}"
        each = f"{1000 * seconds / assets:.2f}"
        table.add_row(role, f"{start.roles.get(role, 0.0):.1f}", f"{seconds:.1f}", each, share)
    Console(width=110).print(table)


def draw(command: list[str]) -> None:
    """The flame graph of a run and all its processes.

    Raises:
        SystemExit: the profiler is not there, or may not look.
    """
    tracer = shutil.which(
        "py-spy", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    )
    if tracer is None:
        raise SystemExit("no py-spy beside this Python: pip install py-spy")
    RESULTS.mkdir(exist_ok=True)
    options = ["--subprocesses", "--function", "--nonblocking", "--rate", str(_SAMPLES_A_SECOND)]
    done = subprocess.run(
        [tracer, "record", *options, "--output", str(FLAME), "--", *command], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"py-spy: {done.stderr.strip().splitlines()[-1]}")
    FLAME.write_text(legible(FLAME.read_text()))
    print(f"flame graph: {FLAME}")


def legible(svg: str) -> str:
    """Without frames too narrow to see, and without this machine's folders in the names of processes."""
    wide = re.sub(_FRAME, lambda frame: frame[0] if float(frame[1]) >= _LEAST_PERCENT else "", svg)
    named = re.sub(_PROCESS, "process", wide)
    return re.sub(_TITLE, r"\1CPU samples of a run and all its processes", named)


if __name__ == "__main__":
    main()
