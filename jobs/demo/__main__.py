"""`python -m jobs.demo`: the tour, on real input, offline."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from schemas.errors import EmbedlakeError, ExitCode
from schemas.house import check_house


def main() -> None:
    """Run the tour; exit 1 when a search does not find what a person would expect."""
    parser = argparse.ArgumentParser(prog="python -m jobs.demo", description=__doc__)
    parser.add_argument(
        "--folder", type=Path, default=Path(".demo"), help="where the S3 server keeps its objects"
    )
    parser.add_argument("--home", type=Path, help="embed the corpus/ and manifests/ of another folder")
    parser.add_argument("--serve", action="store_true", help="no tour: serve the last one's objects")
    arguments = parser.parse_args()
    console = Console()
    started = time.monotonic()
    try:
        check_house()
        from jobs.demo.searches import HOME
        from jobs.demo.tour import serve, tour

        folder, surprises = arguments.folder.absolute(), list[str]()
        if arguments.serve:
            serve(folder, console)
        else:
            surprises = tour(folder, console, arguments.home or HOME)
    except EmbedlakeError as error:
        print(f"embedlake demo: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("embedlake demo: interrupted", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)
    console.print(f"\ndone in {time.monotonic() - started:.0f} s", highlight=False)
    if surprises:
        console.print(f"searches that found something else: {', '.join(surprises)}", style="red")
        sys.exit(ExitCode.FAILED)


if __name__ == "__main__":
    main()
