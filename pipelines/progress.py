"""What a run tells whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts since the run's start; segments except where assets are named."""

    assets: int = 0
    assets_done: int = 0
    failed: int = 0
    prepared: int = 0
    embedded: int = 0
    staged: int = 0
    tokens: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def queued(self) -> int:
        """Prepared segments that wait for the model."""
        return max(0, self.prepared - self.embedded)


class Progress(Protocol):
    """A display, a logger, or nothing."""

    watches: bool
    """Whether `update` does anything; counting costs a process, so nobody counts for nobody."""

    def phase(self, name: str, detail: str = "") -> None:
        """A new phase of the run begins."""
        ...

    def update(self, snapshot: Snapshot) -> None:
        """The dataflow has moved."""
        ...


class Silent:
    """Progress for nobody."""

    watches = False

    def phase(self, name: str, detail: str = "") -> None:
        """Nothing is shown."""

    def update(self, snapshot: Snapshot) -> None:
        """Nothing is shown."""
