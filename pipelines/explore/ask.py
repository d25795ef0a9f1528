"""A query of words and uploaded files: strangers' bytes are decoded in a child, never beside the model."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from operators.decode.sniff import HEAD_BYTES, sniff
from operators.isolation.decoders import Decode
from operators.parts import Segment
from pipelines.query import Hit, Query, Searcher, document_of
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode, UsageError
from schemas.space import embedding_column

QUERY_KINDS = (Modality.IMAGE, Modality.AUDIO, Modality.VIDEO)
"""What a file may be that is a part of a query."""


def kind_of(head: bytes, name: str) -> Modality:
    """What an uploaded file is, by its first bytes.

    Raises:
        UsageError: it cannot be a part of a query.
    """
    try:
        found = sniff(head[:HEAD_BYTES], name)
    except AssetError as error:
        raise UsageError(f"{name}: {error.detail}; a query takes images, sounds and videos") from error
    if found.modality not in QUERY_KINDS:
        raise UsageError(f"{name} is {found.mime}: a query takes images, sounds and videos")
    return found.modality


def ask(searcher: Searcher, query: Query, files: dict[str, BinaryIO], decode: Decode) -> list[Hit]:
    """Search by parts of which the media are keys of `files`.

    Raises:
        UsageError: a part cannot be decoded, or as `Searcher.search`.
        LakeError: the lake cannot be read.
    """
    if all(kind == "text" for kind, _ in query.parts):
        return searcher.search(query)
    return searcher.nearest(_embedded(searcher, query.parts, files, decode), query)


def _embedded(
    searcher: Searcher, parts: Sequence[tuple[str, str]], files: dict[str, BinaryIO], decode: Decode
) -> npt.NDArray[np.float32]:
    """As `Searcher.embed`, with the media decoded by `decode`."""

    def opened(reference: str) -> BinaryIO:
        if reference not in files:
            raise AssetError(ErrorCode.SOURCE_NOT_ALLOWED, f"{reference} was not uploaded")
        return files[reference]

    document = io.BytesIO(document_of((kind, value) for kind, value in parts if value.strip()))
    space = searcher.space

    def segments() -> Iterator[Segment]:
        _, found = decode(document, "query.json", space.recipe, space.card, searcher.preparer.counter, opened)
        with closing(cast(Any, found)):
            yield from found

    return searcher.vector(segments())


def alike(searcher: Searcher, segment_id: str, query: Query) -> list[Hit]:
    """The segments nearest to one of the lake's own, itself first.

    Raises:
        UsageError: there is no such segment, or as `Searcher.nearest`.
    """
    table = searcher.reader.segments(searcher.corpus, searcher.space.id)
    column = embedding_column(searcher.space.widths[0])
    quoted = segment_id.replace("'", "''")
    found = table.to_table(columns=[column], filter=f"segment_id = '{quoted}'", limit=1)
    if not found.num_rows:
        raise UsageError("no such segment in the lake")
    return searcher.nearest(np.asarray(found[column][0].values, np.float32), query)
