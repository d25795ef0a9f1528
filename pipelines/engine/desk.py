"""What the actors of one run tell its driver: what they count, and who is writing.

Its module imports next to nothing: Ray starts a process for it in every run.
"""

from __future__ import annotations

from collections import Counter
from typing import Any


class Desk:
    """A Ray actor that counts for a display, and a gate that whoever stages passes.

    By the gate a run that is left early knows when nothing more is written.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.open = True
        self.inside: dict[str, Any] = {}
        self.began: dict[str, Any] = {}
        self.spent: dict[str, dict[str, float]] = {}

    def add(self, counts: dict[str, int]) -> None:
        """Count; operators do not wait for an answer."""
        self.counts.update(counts)

    def read(self) -> dict[str, int]:
        """What was counted so far."""
        return dict(self.counts)

    def begin(self, actor_id: str, actor: Any) -> None:
        """An actor starts; whatever it did in an earlier life has ended.

        Raises:
            RuntimeError: the gate is shut.
        """
        if not self.open:
            raise RuntimeError("the run was left")
        self.began[actor_id] = actor
        self.inside = {key: actor for key, actor in self.inside.items() if not key.startswith(actor_id)}

    def workers(self) -> list[Any]:
        """The actors that have begun."""
        return list(self.began.values())

    def spend(self, actor_id: str, seconds: dict[str, float]) -> None:
        """Where an actor's time has gone so far."""
        self.spent[actor_id] = seconds

    def times(self) -> list[dict[str, float]]:
        """What each actor last said of its time."""
        return list(self.spent.values())

    def enter(self, key: str, actor: Any) -> bool:
        """Whether an actor may write; it says `leave` with the same key when it has."""
        if self.open:
            self.inside[key] = actor
        return self.open

    def leave(self, key: str) -> None:
        """What was entered with the key is written."""
        self.inside.pop(key, None)

    def close(self) -> dict[str, Any]:
        """Let nobody in any more; who is still inside, by key."""
        self.open = False
        return self.inside
