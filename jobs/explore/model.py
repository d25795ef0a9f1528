"""The model, loaded once in the background; the page says so until it is there."""

from __future__ import annotations

import threading
from collections.abc import Callable

from pipelines.query import Searcher
from schemas.errors import EmbedlakeError, described


class NotReadyError(Exception):
    """The model is being loaded, or could not be."""


class BackgroundModel:
    """A searcher to be. `state` is `loading`, `ready` or `failed`, and `detail` says why it failed."""

    def __init__(self, load: Callable[[], Searcher]) -> None:
        self.state, self.detail = "loading", ""
        self._load = load
        self._searcher: Searcher | None = None

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, name="model", daemon=True).start()

    def searcher(self) -> Searcher:
        """The searcher.

        Raises:
            NotReadyError: it is not there, or never will be.
        """
        if self._searcher is None:
            raise NotReadyError(self.detail or "the model is being loaded, one moment")
        return self._searcher

    def _run(self) -> None:
        try:
            self._searcher = self._load()
            self.state = "ready"
        except EmbedlakeError as error:
            self.state, self.detail = "failed", str(error)
        except Exception as error:
            self.state, self.detail = "failed", f"the model cannot be loaded: {described(error)}"
