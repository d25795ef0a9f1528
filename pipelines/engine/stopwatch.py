"""Where an actor's time goes, whichever of its threads spends it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LOADING, MODEL, STORAGE, INPUT = "loading", "model", "storage", "input"


class Stopwatch:
    """Splits an actor's life into what it does: at any time one thing, whatever its threads are at.

    It loads until it says `loaded`. From then on it is in the model while a thread is; else at storage while a
    thread has rows, which it looks up or writes; else it reads input, or waits for it.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = clock()
        self._loading, self._rows, self._model = True, 0, 0
        self._spent = dict.fromkeys((LOADING, MODEL, STORAGE, INPUT), 0.0)

    @contextmanager
    def has_rows(self) -> Iterator[None]:
        """The calling thread has rows to embed and store."""
        self._change(rows=1)
        try:
            yield
        finally:
            self._change(rows=-1)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The calling thread is in the model."""
        self._change(model=1)
        try:
            yield
        finally:
            self._change(model=-1)

    def loaded(self) -> None:
        """The model is there; what comes now is input."""
        with self._lock:
            self._lap()
            self._loading = False

    def spent(self) -> dict[str, float]:
        """Seconds of each thing so far; they add up to the actor's life."""
        with self._lock:
            self._lap()
            return dict(self._spent)

    def _change(self, rows: int = 0, model: int = 0) -> None:
        with self._lock:
            self._lap()
            self._rows += rows
            self._model += model

    def _lap(self) -> None:
        now = self._clock()
        busy = MODEL if self._model else STORAGE if self._rows else INPUT
        self._spent[LOADING if self._loading else busy] += now - self._last
        self._last = now
