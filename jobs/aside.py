"""Keep what native libraries print off the screen, where it would break a live display or a log's lines."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from schemas.errors import EmbedlakeError


@contextmanager
def stderr_aside() -> Iterator[TextIO]:
    """Give the block the real stderr, while file descriptor 2 goes to a file.

    The file is kept only when it says something about an error that is not a person's; the error gets its name as a
    note.
    """
    sys.stderr.flush()
    screen = os.dup(2)
    aside = tempfile.NamedTemporaryFile(prefix="embedlake-stderr-", suffix=".log", delete=False)  # noqa: SIM115
    os.dup2(aside.fileno(), 2)
    kept = False
    try:
        with os.fdopen(os.dup(screen), "w", buffering=1) as stream:
            yield stream
    except (EmbedlakeError, KeyboardInterrupt):
        raise
    except BaseException as error:
        sys.stderr.flush()
        kept = os.path.getsize(aside.name) > 0
        if kept:
            error.add_note(f"libraries' own messages: {aside.name}")
        raise
    finally:
        sys.stderr.flush()
        os.dup2(screen, 2)
        os.close(screen)
        aside.close()
        if not kept:
            os.unlink(aside.name)
