"""What the actors of one run tell its driver: what they count, and who is writing.

Its module imports next to nothing: Ray starts a process for it in every run.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any


class Desk:
    """A Ray actor that counts for a display, and a gate that whoever stages passes.

    By the gate a run that is left early knows when nothing more is written. Actors' handles come as references in
    lists, for the driver alone: to read one here would import all that its actor does.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.open = True
        self.inside: dict[str, str] = {}
        self.began: dict[str, list[Any]] = {}
        self.since: dict[str, float] = {}
        self.spent: dict[str, dict[str, float]] = {}

    def add(self, counts: dict[str, int]) -> None:
        """Count; operators do not wait for an answer."""
        self.counts.update(counts)

    def read(self) -> dict[str, int]:
        """What was counted so far."""
        return dict(self.counts)

    def begin(self, actor_id: str, handle: list[Any]) -> None:
        """An actor starts; whatever it did in an earlier life has ended.

        Raises:
            RuntimeError: the gate is shut.
        """
        if not self.open:
            raise RuntimeError("the run was left")
        self.began[actor_id] = handle
        self.since.setdefault(actor_id, time.monotonic())
        self.inside = {key: whose for key, whose in self.inside.items() if whose != actor_id}

    def handles(self) -> list[list[Any]]:
        """Of the actors that have begun."""
        return list(self.began.values())

    def lived(self) -> float:
        """Seconds since each actor began, of all together."""
        now = time.monotonic()
        return sum(now - since for since in self.since.values())

    def spend(self, actor_id: str, seconds: dict[str, float]) -> None:
        """Where an actor's time has gone so far."""
        self.spent[actor_id] = seconds

    def times(self) -> list[dict[str, float]]:
        """What each actor last said of its time."""
        return list(self.spent.values())

    def enter(self, key: str, actor_id: str) -> bool:
        """Whether an actor that has begun may write; it says `leave` with the same key when it has."""
        if self.open:
            self.inside[key] = actor_id
        return self.open

    def leave(self, key: str) -> None:
        """What was entered with the key is written."""
        self.inside.pop(key, None)

    def close(self) -> dict[str, list[Any]]:
        """Let nobody in any more; the handle of who is still inside, by key."""
        self.open = False
        return {key: self.began[actor_id] for key, actor_id in self.inside.items()}
