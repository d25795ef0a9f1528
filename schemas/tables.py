"""Arrow schemas of every table, in a lake and between operators. Column names are a public contract."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from schemas.errors import UsageError
from schemas.space import Space

TIMESTAMP = pa.timestamp("ms", tz="UTC")

LISTING = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("mtime", TIMESTAMP),
        pa.field("inline", pa.large_binary()),
    ]
)
"""One row per source object. `source` is the root or manifest that it was found by; `inline` holds an
interleaved document that came inside a manifest instead of as an object of its own."""

STAGED_COLUMN = "staged"
"""Optional on listing rows: ids of the asset's segments that an earlier attempt of the run has staged."""

DONORS_COLUMN = "donors"
"""Optional on listing rows: content hashes of embedded assets that it may be a copy of, each with its name's suffix
behind it. An object with such a hash and suffix is not embedded again: it takes the donor's vectors."""

NAME_SUFFIX = r"\.[^./]*?(?:\.(?:gz|gzip|bz2|xz|zst|zstd))?$"
"""What in a lower-case name decides, beside the bytes, how an asset is read; of a packed file the inner one too."""

TAKEN_COLUMN = "taken"
"""Optional on listing rows: URIs of objects that a member of the archive must not get."""

KEPT_COLUMN = "kept_rows"
"""Optional on listing rows: where in the corpus' prepared media the asset's rows lie, so that its object is not read:
for the asset, and then for each asset in it where it is an archive, its own row and those of its segments in order."""

METADATA_DIGEST = "metadata_digest"

MEMBER_MARK = "!/"
"""Between the URI of an archive and the name of what lies in it."""

ASSETS = pa.schema(
    [
        pa.field("uri", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("container", pa.string()),
        pa.field("size", pa.int64()),
        pa.field("etag", pa.string()),
        pa.field("mtime", TIMESTAMP),
        pa.field(METADATA_DIGEST, pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("modality", pa.string()),
        pa.field("media_type", pa.string()),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error_stage", pa.string()),
        pa.field("error_code", pa.string()),
        pa.field("error_detail", pa.string()),
        pa.field("segments", pa.int32(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
    ]
)
"""One row per source object, and per member of one that is an archive: what became of it. `status` is `embedded`,
`quarantined` or, of an archive, `expanded`; a member's `container` is the URI of the object that it lies in, at any
depth, and its etag is that object's. An `embedded` or `expanded` row with an `error_code` is of an earlier run, as
its vectors are: the last attempt failed for a reason outside the object's bytes. `metadata_digest` tells whether a
manifest has other values for it by now."""

EMBEDDED = "embedded"
QUARANTINED = "quarantined"
EXPANDED = "expanded"
"""An archive whose members are assets of their own. In receipts its `segments` count the members' rows."""
MOVED = "moved"
"""In receipts only: an asset whose bytes were found to be those of an embedded asset."""

LOCATOR = [
    pa.field("page", pa.int32()),
    pa.field("page_end", pa.int32()),
    pa.field("start_ms", pa.int64()),
    pa.field("end_ms", pa.int64()),
    pa.field("char_start", pa.int64()),
    pa.field("char_end", pa.int64()),
    pa.field("row_start", pa.int64()),
    pa.field("row_end", pa.int64()),
]
"""Where in the asset a segment lies; `page` (also a slide, sheet, chapter or message) counts from 1, `page_end` is the
last one, `page` itself where it is one; characters of the extracted text (of the page or of the rows, where there are
some), milliseconds and rows count from 0, ends excluded."""

SEGMENT = [
    pa.field("segment_id", pa.string(), nullable=False),
    pa.field("uri", pa.string(), nullable=False),
    pa.field("modality", pa.string(), nullable=False),
    pa.field("ordinal", pa.int32(), nullable=False),
    *LOCATOR,
    pa.field("text", pa.string()),
    pa.field("tokens", pa.int32(), nullable=False),
]

PART = pa.struct(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("data", pa.large_binary()),
        pa.field("shape", pa.list_(pa.int32())),
        pa.field("at_ms", pa.int64()),
    ]
)
"""One part of a model input, in the caller's order: see `operators.parts.Part`."""

KEPT_PART = pa.struct(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("shape", pa.list_(pa.int32())),
        pa.field("at_ms", pa.int64()),
        pa.field("size", pa.int64(), nullable=False),
    ]
)
"""One part as `operators.prepared.codec` keeps it: `size` bytes of the segment's media, behind those of the parts
before it. Sounds that follow one another share the first one's."""

KEPT = [
    pa.field("kept_for", pa.string()),
    pa.field("kept_parts", pa.list_(KEPT_PART)),
    pa.field("kept_media", pa.large_binary(), metadata={"lance-encoding:compression": "none"}),
]
"""What is kept of a decoded asset: with a segment its media, compressed as they are, with the asset what they were
made for. They are no blob columns of Lance's: those cannot be read out of a fragment that is not committed."""

SEGMENT_KIND = "segment"
ASSET_KIND = "asset"

_NOT_READ = ("modality", "tokens", "run_id")

PREPARED = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        *(f.with_nullable(True) for f in SEGMENT if f.name != "uri"),
        *(f.with_nullable(f.name != "uri") for f in ASSETS if f.name not in _NOT_READ),
        pa.field("parts", pa.list_(PART)),
        pa.field("kept", pa.bool_()),
        *KEPT,
    ]
)
"""Between decode and embed: one row per segment (`kind` = segment, with its model-ready `parts`), and after
the last segment of an asset one row that says how the asset ended (`kind` = asset). `kept` rows go to the corpus'
prepared media, too."""

_IN_MEDIA = (
    "kind",
    "uri",
    "container",
    "size",
    "etag",
    "mtime",
    "content_hash",
    "media_type",
    "status",
    "segments",
)

MEDIA = pa.schema(
    [
        *(PREPARED.field(name).with_nullable(name not in ("kind", "uri")) for name in _IN_MEDIA),
        *(f.with_nullable(True) for f in SEGMENT if f.name not in ("uri", "tokens")),
        *KEPT,
    ]
)
"""A corpus' prepared media, one table for each recipe: the `kept` rows of `PREPARED`, without what a model made."""

DUPLICATES = pa.schema(
    [
        pa.field("group_id", pa.string(), nullable=False),
        pa.field("segment_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("exact", pa.bool_(), nullable=False),
        pa.field("is_representative", pa.bool_(), nullable=False),
        pa.field("group_rows", pa.int32(), nullable=False),
    ]
)
"""Segments of a space that have near-duplicates, a row each; `uri` and `segment_id` together name a row of the space.
`group_id` is the segment id of the group's representative, `score` the cosine with it, `exact` whether the content and
the place in it are the same."""

CLUSTERS = pa.schema(
    [
        pa.field("cluster", pa.int32(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("segment_id", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("ordinal", pa.int32(), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
        pa.field("is_representative", pa.bool_(), nullable=False),
    ]
)
"""Every segment of a space that has a vector, with its cluster: 0 is the largest. `score` is the cosine with the
cluster's centre, the representative the segment that is nearest to it, `label` the words that tell its texts from
others'."""

RESERVED = frozenset({*(f.name for f in SEGMENT), *PREPARED.names, *LISTING.names, *ASSETS.names, "metadata"})


def space_schema(space: Space, metadata: Iterable[pa.Field] = ()) -> pa.Schema:
    """The table of a space: one row per segment, the user's metadata columns, a vector for each width."""
    user = [f.with_nullable(True) for f in metadata]
    fields = [*SEGMENT, *user, *space.vector_fields, pa.field("run_id", pa.string(), nullable=False)]
    return pa.schema(fields, metadata=space.metadata())


def check_metadata_names(names: Iterable[str], where: str) -> None:
    """Refuse user metadata columns whose names the contract or a query needs; letter case makes no other name.

    Raises:
        UsageError: names a column and the manifest it came from.
    """
    for name in names:
        if not name.strip():
            raise UsageError(f"{where}: a metadata column has an empty name; name it in the manifest")
        if "." in name or name.startswith("_"):
            raise UsageError(
                f"{where}: metadata column '{name}' has a '.' or starts with '_'; rename it in the manifest"
            )
        if name.casefold() in RESERVED or name.casefold().startswith("embedding_"):
            raise UsageError(
                f"{where}: metadata column '{name}' has a reserved name; rename it in the manifest"
            )
