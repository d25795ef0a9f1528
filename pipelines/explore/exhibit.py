"""A lake as a page shows it: its facts, its hits as cards, their contexts and parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from operators.decode.document import TextPart, parse_document
from operators.decode.sniff import DOCUMENT
from operators.lake.filters import check_whole
from operators.storage import parent, resolve
from pipelines.explore.assets import Asset, Assets, context_of
from pipelines.explore.pictures import shown_as
from pipelines.locators import locate
from pipelines.query import Hit, any_of, filter_of, reason
from pipelines.reader import LakeReader
from pipelines.status import status
from schemas.card import Modality
from schemas.errors import AssetError, UsageError
from schemas.space import Space, plain_columns
from schemas.tables import MEMBER_MARK, SEGMENT

_DOCUMENT_BYTES = 4 << 20
_MOST_PARTS = 64
_CLOCKED = ("audio", "video")
_OWN = frozenset({*(field.name for field in SEGMENT), "run_id"})
_NEIGHBOURS = ["ordinal", "text", "char_start", "char_end", "page"]
_POSTER_MS = 1_500
"""How far into its window a video's picture lies: the first frame is often black."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A corpus' live space, at the version that was published when it was opened."""

    reader: LakeReader
    corpus: str
    space: Space
    assets: Assets

    @classmethod
    def of(cls, reader: LakeReader, corpus: str | None, allow: tuple[str, ...] = ()) -> Exhibit:
        """A corpus by name, or the only one.

        Raises:
            LakeError: as `LakeReader.corpus`.
        """
        name, _ = reader.corpus(corpus)
        return cls(reader, name, reader.space(name), Assets(reader, name, allow))

    def facts(self) -> dict[str, Any]:
        """What the lake holds, and what a filter may name."""
        of = next(one for one in status(self.reader).corpora if one.corpus == self.corpus)
        schema = self.reader.segments(self.corpus).schema
        columns = [schema.field(name) for name in plain_columns(schema)]
        return {
            "lake": self.reader.layout.lake,
            "corpus": self.corpus,
            "model": of.model,
            "widths": of.widths,
            "assets": of.embedded,
            "quarantined": of.quarantined,
            "segments": of.segments,
            "modalities": of.segments_by_modality,
            "published_at": of.published_at.isoformat() if of.published_at else None,
            "version": of.version,
            "columns": [{"name": f.name, "type": str(f.type)} for f in columns],
        }

    def browse(self, modality: Modality | None, where: str | None, limit: int) -> list[Hit]:
        """Segments of the corpus without a question: a sample, or the first that a filter leaves.

        Raises:
            UsageError: `where` is not SQL over the table's columns.
        """
        table = self.reader.segments(self.corpus)
        columns, filters = plain_columns(table.schema), filter_of(where, modality)
        if filters:
            if where:
                check_whole(table, where, "filter")
            try:
                found = table.to_table(columns=columns, filter=filters, limit=limit)
            except (ValueError, OSError) as error:
                raise UsageError(reason(error)) from error
        else:
            found = table.sample(min(limit, table.count_rows()), columns=columns)
        rows = found.to_pylist()
        return [Hit(r["uri"], r["modality"], 0.0, locate(r), r["text"], r, self.space.id) for r in rows]

    def cards(self, hits: list[Hit]) -> list[dict[str, Any]]:
        """Hits as JSON: what they are, where they lie, and what can be shown of them.

        Raises:
            LakeError: the assets cannot be read.
        """
        assets = self.assets.find(hit.uri for hit in hits)
        return [_card(hit, assets.get(hit.uri)) for hit in hits]

    def around(self, uri: str, ordinal: int) -> dict[str, str]:
        """The text `before` and `after` a segment of an asset.

        Raises:
            UsageError: there is no such segment.
        """
        filters = f"{any_of([uri])} AND ordinal BETWEEN {ordinal - 1} AND {ordinal + 1}"
        rows = self.reader.segments(self.corpus).to_table(columns=_NEIGHBOURS, filter=filters).to_pylist()
        if all(row["ordinal"] != ordinal for row in rows):
            raise UsageError("no such segment in the lake")
        before, after = context_of(rows, ordinal)
        return {"before": before, "after": after}

    def parts(self, asset: Asset) -> list[dict[str, Any]]:
        """The parts of an interleaved document in JSON, in its order; of others none.

        A medium that is an asset of the corpus comes with its `picture` and `player`, as cards do.

        Raises:
            AssetError: it cannot be read.
        """
        if asset.modality != Modality.DOCUMENT or asset.media_type != DOCUMENT:
            return []
        with self.assets.fetch(asset).file as file:
            document = parse_document(file.read(_DOCUMENT_BYTES))
        media = [p for p in document.parts[:_MOST_PARTS] if not isinstance(p, TextPart) and p.uri is not None]
        places = {p.uri: _resolved(p.uri, asset.uri) for p in media if p.uri is not None}
        known = self.assets.find(place for place in places.values() if place)
        shown: list[dict[str, Any]] = []
        if document.title:
            shown.append({"type": "title", "text": document.title})
        for part in document.parts[:_MOST_PARTS]:
            if isinstance(part, TextPart):
                shown.append({"type": "text", "text": part.text})
                continue
            of = known.get(places.get(part.uri or "", ""))
            start, end = getattr(part, "start_ms", None), getattr(part, "end_ms", None)
            place = {"page": getattr(part, "page", None), "start_ms": start, "end_ms": end}
            name = _name(part.uri) if part.uri else "inline"
            shown.append({"type": part.type, "name": name, **(_medium(of, place) if of else {})})
        return shown


def _card(hit: Hit, asset: Asset | None) -> dict[str, Any]:
    row = hit.row
    card = {
        "id": row["segment_id"],
        "uri": hit.uri,
        "name": _name(hit.uri),
        "within": _within(asset),
        "label": _label(hit),
        "where": hit.where,
        "modality": hit.modality,
        "score": hit.score,
        "text": hit.text,
        "ordinal": row["ordinal"],
        "metadata": {name: _plain(value) for name, value in row.items() if name not in _OWN},
        "media_type": asset.media_type if asset else None,
        "document": bool(asset and asset.media_type == DOCUMENT),
    }
    return {**card, **(_medium(asset, row) if asset else {"picture": None, "player": None})}


def _label(hit: Hit) -> str:
    """`video.mp4 @ 01:23-01:31`, `report.pdf p. 7`; characters tell a person nothing."""
    if hit.row["start_ms"] is not None:
        return f"{_name(hit.uri)} @ {hit.where}"
    return _name(hit.uri) if hit.where.startswith("chars") else f"{_name(hit.uri)} {hit.where}".strip()


def _medium(asset: Asset, place: dict[str, Any]) -> dict[str, Any]:
    """How a place of an asset is shown: as a picture, in a player, or neither."""
    start, end = place.get("start_ms"), place.get("end_ms")
    at_ms = 0 if start is None else start if end is None else min(start + _POSTER_MS, (start + end) // 2)
    try:
        shown_as(asset, place.get("page"), at_ms)
        picture = {"uri": asset.uri, "page": place.get("page"), "at_ms": at_ms}
    except AssetError:
        picture = None
    kind = (asset.media_type or "").partition("/")[0]
    return {
        "uri": asset.uri,
        "picture": picture,
        "player": kind if kind in _CLOCKED else None,
        "start_ms": start,
        "end_ms": end,
        "page": place.get("page"),
    }


def _resolved(reference: str, uri: str) -> str:
    try:
        return resolve(reference, parent(uri))
    except UsageError:
        return ""


def _name(uri: str) -> str:
    return uri.rsplit("/", 1)[-1]


def _within(asset: Asset | None) -> str | None:
    return None if asset is None or asset.container is None else _name(asset.container) + MEMBER_MARK


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | None) else str(value)
