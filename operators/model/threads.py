"""CPU threads that passes of one process share."""

from __future__ import annotations

import sys
import threading
from typing import Any


class SharedThreads:
    """Threads of passes that run side by side: each has its share of them, and one that is left alone has all.

    Entered for the time of a pass. Whenever a module of torch's is called, the calling thread takes what is its share
    by then, because others begin and end meanwhile; torch keeps the number for each thread. A model that has not loaded
    torch has none of its threads to share, and torch is not loaded for it: 1.5 CPU seconds of an actor's start.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._passes = 0
        self._lock = threading.Lock()
        self._hook: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._passes += 1
            if self._hook is None and "torch" in sys.modules:
                from torch.nn.modules.module import register_module_forward_pre_hook

                self._hook = register_module_forward_pre_hook(self._settle)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._passes -= 1
            if not self._passes and self._hook is not None:
                self._hook.remove()
                self._hook = None

    def _settle(self, *_: object) -> None:
        import torch

        share = max(1, self._threads // max(1, self._passes))
        if torch.get_num_threads() != share:
            torch.set_num_threads(share)
