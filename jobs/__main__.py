"""`embedlake` and `python -m jobs`: the same program."""

from __future__ import annotations

import os
import sys

from jobs.plain import plain
from schemas.errors import EmbedlakeError, ExitCode
from schemas.house import check_house

DEBUG = "EMBEDLAKE_DEBUG"


def main() -> None:
    """Run the command line; every error ends in one line and a documented exit code."""
    try:
        check_house()
        from jobs.cli import app

        app(prog_name="embedlake")
    except EmbedlakeError as error:
        print(f"embedlake: {plain(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        reason = " ".join(plain(error).split())[:300]
        hints = "; ".join((*getattr(error, "__notes__", ()), f"{DEBUG}=1 shows the traceback"))
        print(f"embedlake: {type(error).__name__}: {reason} ({plain(hints)})", file=sys.stderr)
        sys.exit(ExitCode.FAILED)
    except KeyboardInterrupt:
        print("embedlake: interrupted", file=sys.stderr)
        sys.exit(ExitCode.INTERRUPTED)


if __name__ == "__main__":
    main()
