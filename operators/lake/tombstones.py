"""URIs that are not to come back, as salted hashes: the list says nothing of what was forgotten."""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from operators.storage import Storage
from schemas.tables import MEMBER_MARK

if TYPE_CHECKING:
    import polars as pl

_SALT_KEY = b"embedlake.salt"
_SALT_BYTES = 16
_HASH_BYTES = 32
_SCHEMA = pa.schema([pa.field("hash", pa.binary(_HASH_BYTES), nullable=False)])


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The forgotten URIs of one corpus. The salt is the corpus' own, so two lists cannot be compared."""

    salt: bytes = field(default_factory=lambda: secrets.token_bytes(_SALT_BYTES), repr=False)
    hashes: frozenset[bytes] = field(default=frozenset(), repr=False)

    @classmethod
    def read(cls, uri: str, storage: Storage) -> Tombstones:
        """The list at `uri`, a new one where there is none."""
        try:
            table = pq.read_table(io.BytesIO(storage.read(uri)))
        except FileNotFoundError:
            return cls()
        return cls((table.schema.metadata or {})[_SALT_KEY], frozenset(table["hash"].to_pylist()))

    def write(self, uri: str, storage: Storage) -> None:
        """Replace the list at `uri`."""
        table = pa.table({"hash": pa.array(sorted(self.hashes), _SCHEMA.field("hash").type)}, schema=_SCHEMA)
        out = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({_SALT_KEY: self.salt}), out)
        storage.put(uri, out.getvalue())

    def adding(self, uris: Iterable[str]) -> Tombstones:
        """The list with these URIs."""
        return Tombstones(self.salt, self.hashes | {self._hash(uri) for uri in uris})

    def without(self, uris: Iterable[str]) -> Tombstones:
        """The list without these URIs."""
        return Tombstones(self.salt, self.hashes - {self._hash(uri) for uri in uris})

    def mask(self, uris: pl.Series) -> pl.Series:
        """Whether each of `uris` [n], or an archive around it, was forgotten, as booleans [n]."""
        import polars as pl  # no worker needs it

        if not self.hashes:
            return pl.repeat(False, len(uris), dtype=pl.Boolean, eager=True)
        return pl.Series([self.holds(uri) for uri in uris], dtype=pl.Boolean)

    def holds(self, uri: str) -> bool:
        """Whether an asset, or an archive around it, was forgotten."""
        return bool(self.hashes) and any(self._hash(n) in self.hashes for n in (uri, *containers(uri)))

    def _hash(self, uri: str) -> bytes:
        return hashlib.sha256(self.salt + uri.encode()).digest()


def containers(uri: str) -> list[str]:
    """The archives that a member lies in, outermost first; none of what is no member."""
    names = uri.split(MEMBER_MARK)
    return [MEMBER_MARK.join(names[:depth]) for depth in range(1, len(names))]
