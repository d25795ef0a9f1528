"""The catalog's log: read the newest entry, append exactly one."""

from __future__ import annotations

from dataclasses import dataclass

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

    def read(self) -> Catalog:
        """The newest entry, or an empty catalog for a lake that is not there yet.

        Raises:
            LakeError: storage refuses, or an entry is not a catalog of this format.
        """
        with explained(self.layout.lake, LakeError):
            names = [n for n in self.storage.names(self.layout.catalog) if n.endswith(_SUFFIX)]
            return self._parse(join(self.layout.catalog, names[-1])) if names else Catalog()

    def append(self, base: Catalog, change: Change) -> Catalog:
        """Append a change to the state that it was made for.

        When only other corpora have moved since `base`, the change is made on the newest entry instead. A put
        whose answer was lost is recognised by reading the entry back.

        Raises:
            ConflictError: another writer changed the same corpus first.
        """
        known = base.corpora.get(change.corpus)
        for _ in range(_ATTEMPTS):
            entry = base.apply(change)
            uri = self._uri(entry.number)
            body = entry.model_dump_json(indent=1).encode()
            if self.storage.put_if_absent(uri, body) or self._holds(uri, body):
                return entry
            base = self.read()
            if base.corpora.get(change.corpus) != known:
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

    def _uri(self, number: int) -> str:
        return join(self.layout.catalog, f"{number:08d}{_SUFFIX}")

    def _parse(self, uri: str) -> Catalog:
        try:
            return Catalog.model_validate_json(self.storage.read(uri))
        except ValidationError as error:
            raise LakeError(
                f"{uri} is not a catalog of this version of embedlake ({error.error_count()} fields differ)"
            ) from error
