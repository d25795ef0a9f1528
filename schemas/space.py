"""An embedding space: model + weights + recipe. Vectors of two spaces are never compared (I4)."""

from __future__ import annotations

import hashlib
from typing import Literal, Self

import pyarrow as pa

from schemas.card import Frozen, ModelCard
from schemas.errors import ModelError, UsageError
from schemas.recipe import Recipe

METADATA_KEY = b"embedlake.space"
VECTORS = "embedding_"
"""What the names of vector columns begin with."""
VectorType = Literal["float32", "float16"]
IndexKind = Literal["IVF_RQ", "IVF_PQ", "IVF_HNSW_SQ"]
"""Lance's indices over vectors: one bit and a little for each dimension, product codes, or a graph over bytes."""


def plain_columns(schema: pa.Schema) -> list[str]:
    """The columns of a table that hold no vectors, in their order."""
    return [name for name in schema.names if not name.startswith(VECTORS)]


def embedding_column(width: int) -> str:
    """The name of the vector column of one width."""
    return f"{VECTORS}{width}"


class Space(Frozen):
    """What a vector column was made by; its `id` is the digest of all of it.

    `stored` are the widths of a table whose columns are not those of the card; they are not part of the `id`.
    """

    card: ModelCard
    recipe: Recipe
    vector_type: VectorType = "float32"
    stored: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """`<model name>-<12 hex digits>`: readable, and different whenever anything of it differs."""
        parts = (self.card.model_id, self.card.weights_digest, self.card.preprocessing, self.recipe.digest)
        digest = hashlib.sha256("\n".join((*parts, str(self.card.widths), self.vector_type)).encode())
        name = "".join(c if c.isalnum() else "-" for c in self.card.model_id.rsplit("/", 1)[-1].lower())
        return f"{name.strip('-')}-{digest.hexdigest()[:12]}"

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that have a column, the full one first."""
        return self.stored or self.card.widths

    def width(self, asked: int | None) -> int:
        """The width that is asked for, the full one when None.

        Raises:
            UsageError: it has no column.
        """
        width = asked or self.card.dim
        if width not in self.widths:
            known = ", ".join(map(str, self.widths))
            raise UsageError(f"width {width} is not in the lake; choose one of {known}")
        return width

    @property
    def vector_fields(self) -> list[pa.Field]:
        """One `FixedSizeList` field for each width; each row is a unit vector or null."""
        value = pa.float32() if self.vector_type == "float32" else pa.float16()
        return [pa.field(embedding_column(w), pa.list_(value, w)) for w in self.widths]

    def metadata(self) -> dict[bytes, bytes]:
        """Arrow schema metadata that carries the space with its vectors."""
        return {METADATA_KEY: self.model_dump_json(exclude={"stored"}).encode()}

    @classmethod
    def of(cls, schema: pa.Schema) -> Self:
        """The space that made a table's vectors.

        Raises:
            ModelError: the table carries no space.
        """
        raw = (schema.metadata or {}).get(METADATA_KEY)
        if raw is None:
            raise ModelError("table has no embedlake space in its metadata: it was not written by embedlake")
        made = cls.model_validate_json(raw)
        cuts = [name.removeprefix(VECTORS) for name in schema.names if name.startswith(VECTORS)]
        found = tuple(sorted((int(cut) for cut in cuts if cut.isdecimal()), reverse=True))
        return made.model_copy(update={"stored": () if found == made.card.widths else found})
