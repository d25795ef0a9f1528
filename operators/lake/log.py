"""The catalog's log: read the newest entry, append exactly one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError

from operators.lake.layout import Layout
from operators.storage import Storage, explained, join
from schemas.catalog import Catalog, Change
from schemas.errors import ConflictError, LakeError

_SUFFIX = ".json"
_ATTEMPTS = 50


@dataclass(frozen=True, slots=True)
class CatalogLog:
    """The log of one lake. Entries are `catalog/0000000N.json`; the highest number is the state."""

    layout: Layout
    storage: Storage

    def read(self, number: int | None = None) -> Catalog:
        """The newest entry, or an empty catalog for a lake that is not there yet; or the entry of a number.

        Raises:
            LakeError: storage refuses, an entry is not a catalog of this format, or has been collected.
        """
        with explained(self.layout.lake, LakeError):
            numbers = self.numbers()
            if number is not None and number not in numbers:
                there = f"{numbers[0]} to {numbers[-1]}" if numbers else "none"
                raise LakeError(f"{self.layout.lake} has no catalog entry {number}; there are: {there}")
            if number is not None:
                return self._parse(self.uri(number))
            return self._parse(self.uri(numbers[-1])) if numbers else Catalog()

    def uri(self, number: int) -> str:
        """Where an entry lies."""
        return join(self.layout.catalog, f"{number:08d}{_SUFFIX}")

    def numbers(self) -> list[int]:
        """The numbers of the entries that are there, ascending."""
        names = self.storage.names(self.layout.catalog)
        return [int(n.removesuffix(_SUFFIX)) for n in names if n.endswith(_SUFFIX)]

    def since(self, moment: datetime) -> list[Catalog]:
        """The entries that were the newest at `moment` or after it, newest first: what a reader may hold."""
        found: list[Catalog] = []
        for number in reversed(self.numbers()):
            found.append(self._parse(self.uri(number)))
            change = found[-1].change
            if change is None or change.at < moment:
                break
        return found

    def append(self, base: Catalog, change: Change) -> Catalog:
        """Append a change to the state that it was made for.

        When what the change is about has not moved since `base`, it is made on the newest entry instead. A put
        whose answer was lost is recognised by reading the entry back.

        Raises:
            ConflictError: another writer changed the same thing first.
        """
        known = change.basis(base.corpora.get(change.corpus))
        for _ in range(_ATTEMPTS):
            entry = base.apply(change)
            uri = self.uri(entry.number)
            body = entry.model_dump_json(indent=1).encode()
            # Old entries are collected: an absent one is the next only when none above it is there.
            free = max(self.numbers(), default=0) < entry.number
            if (free and self.storage.put_if_absent(uri, body)) or self._holds(uri, body):
                return entry
            base = self.read()
            if change.basis(base.corpora.get(change.corpus)) != known:
                break
        raise ConflictError(
            f"another run published to corpus '{change.corpus}' of {self.layout.lake} first; "
            f"nothing of this one was published: run it again"
        )

    def _holds(self, uri: str, body: bytes) -> bool:
        try:
            return self.storage.read(uri) == body
        except FileNotFoundError:  # the writer that was in the way has failed
            return False

    def _parse(self, uri: str) -> Catalog:
        try:
            return Catalog.model_validate_json(self.storage.read(uri))
        except ValidationError as error:
            raise LakeError(
                f"{uri} is not a catalog of this version of embedlake ({error.error_count()} fields differ)"
            ) from error
