"""Keep what native libraries print off the screen, where it would break a live display or a log's lines."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


@contextmanager
def stderr_aside() -> Iterator[TextIO]:
    """Give the block the real stderr, while file descriptor 2 goes to a file that is kept only on failure."""
    sys.stderr.flush()
    screen = os.dup(2)
    aside = tempfile.NamedTemporaryFile(prefix="embedlake-stderr-", suffix=".log", delete=False)  # noqa: SIM115
    os.dup2(aside.fileno(), 2)
    try:
        with os.fdopen(os.dup(screen), "w", buffering=1) as stream:
            yield stream
        os.unlink(aside.name)
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        os.close(screen)
        aside.close()
