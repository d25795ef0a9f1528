"""A decoder of pictures that dies of one file; light, as what a child imports has to be."""

from __future__ import annotations

import os
import signal
from typing import Any, BinaryIO

from operators.decode import preview

ENTRY = "tests.pipelines.deadly:decode"
VICTIM = "a.png"


def decode(file: BinaryIO, name: str, *given: Any) -> Any:
    """As the page's own, but for the victim."""
    if name.endswith(VICTIM):
        os.kill(os.getpid(), signal.SIGSEGV)
    return preview.decode(file, name, *given)
