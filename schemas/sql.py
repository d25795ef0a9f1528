"""The functions that embedlake adds to SQL: the arguments of each, in order."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, StrictInt, StrictStr

from schemas.card import Frozen, Modality, Role

RowFormat = Literal["table", "csv", "json", "parquet", "arrow"]
"""How the rows of a statement are written; `arrow` is the IPC file format in a file, its stream in a pipe."""

MOST_HITS = 10_000


class Embed(Frozen):
    """`embed('text')`: the text as a vector; `task` is a role or a task of the model's card."""

    text: StrictStr
    task: StrictStr = Role.QUERY.value
    width: StrictInt | None = Field(default=None, gt=0)
    corpus: StrictStr | None = None


class EmbedImage(Frozen):
    """`embed_image('path')`: the image at a path or URI as a vector."""

    path: StrictStr
    width: StrictInt | None = Field(default=None, gt=0)
    corpus: StrictStr | None = None


class VectorSearch(Frozen):
    """`vector_search('corpus', 'text')`: the rows of the live space nearest to a text, or to what a call embeds."""

    corpus: StrictStr
    query: StrictStr | Embed | EmbedImage
    k: StrictInt = Field(default=10, ge=1, le=MOST_HITS)
    width: StrictInt | None = Field(default=None, gt=0)
    filter: StrictStr | None = None
    modality: Modality | None = None


Call = Embed | EmbedImage | VectorSearch

CALLS: dict[str, type[Call]] = {"embed": Embed, "embed_image": EmbedImage, "vector_search": VectorSearch}
