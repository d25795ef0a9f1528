"""Groups of a space's segments: near-duplicates and clusters, and how a table of them was made."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

import pyarrow as pa
from pydantic import Field, TypeAdapter

from schemas.card import Frozen, Modality
from schemas.errors import LakeError

METADATA_KEY = b"embedlake.groups"


class GroupKind(StrEnum):
    """What a table groups; its value is the end of the table's name and of its SQL view."""

    DUPLICATES = "duplicates"
    CLUSTERS = "clusters"

    @property
    def command(self) -> str:
        """The command that makes such a table."""
        return "dedup" if self is GroupKind.DUPLICATES else "cluster"


class _Grouping(Frozen):
    """What both kinds say: of which rows they were made.

    `space_version` is the version of the space's table then, `rows` how many of its rows had a vector and were asked
    for.
    """

    space: str
    space_version: int
    width: int
    modality: Modality | None
    rows: int
    seed: int

    def metadata(self) -> dict[bytes, bytes]:
        """Arrow schema metadata of the table."""
        return {METADATA_KEY: self.model_dump_json().encode()}


class Deduplication(_Grouping):
    """How near-duplicates were found.

    `exhaustive`: every row was compared with every representative. Otherwise only with those of its nearest `cells`,
    and `recall` is the share of the pairs at or over the threshold, of a sample of rows, that this compares; None when
    the sample had no such pair.
    """

    kind: Literal[GroupKind.DUPLICATES] = GroupKind.DUPLICATES
    threshold: float
    exhaustive: bool
    cells: int
    recall: float | None


class Clustering(_Grouping):
    """How clusters were made: `k` centres fitted on `sample` rows; one that no row is nearest to is left out."""

    kind: Literal[GroupKind.CLUSTERS] = GroupKind.CLUSTERS
    k: int
    sample: int


Grouping = Annotated[Deduplication | Clustering, Field(discriminator="kind")]
_GROUPING: TypeAdapter[Deduplication | Clustering] = TypeAdapter(Grouping)


def of(schema: pa.Schema) -> Deduplication | Clustering:
    """How a table of groups was made.

    Raises:
        LakeError: it is no table of groups.
    """
    raw = (schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise LakeError("table has no embedlake groups in its metadata: it was not written by embedlake")
    return _GROUPING.validate_json(raw)
