"""From kept rows back to what decoding would have given, without the original."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from operators.decode.beside import page_room, text_beside
from operators.model.contract import TextCounter
from operators.parts import Locator, Part, PartKind, Segment
from operators.prepared.codec import unpack
from operators.prepared.fit import KeptFor
from operators.rows import AssetRows, Row
from schemas.card import ImageInput, Modality, ModelCard
from schemas.recipe import Recipe
from schemas.tables import EXPANDED

Record = dict[str, Any]
Segments = Callable[[AssetRows, Iterator[Segment]], Iterator[list[Row]]]
_LOCATOR = tuple(Locator.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Unpacker:
    """Kept rows to segments for one model."""

    recipe: Recipe
    card: ModelCard
    counter: TextCounter

    def segments(self, head: Record, rows: Iterable[Record]) -> Iterator[Segment]:
        """The segments of an asset from its own row and those of its segments."""
        kept = KeptFor.model_validate_json(head["kept_for"])
        wants: dict[PartKind, ImageInput | None] = {
            PartKind.IMAGE: None if kept.image == self.card.image else self.card.image,
            PartKind.FRAME: None if kept.frame == self.card.frame else self.card.frame,
        }
        for row in rows:
            parts = unpack(row["kept_media"], row["kept_parts"], wants)
            if kept.media is Modality.PAGE:
                parts = self._page(parts, row["text"] or "")
            locator = Locator(**{name: row[name] for name in _LOCATOR})
            if locator.page_end == locator.page:
                locator = replace(locator, page_end=None)  # as the decoder says it of a single page
            yield Segment(Modality(row["modality"]), parts, locator, row["text"])

    def _page(self, parts: tuple[Part, ...], text: str) -> tuple[Part, ...]:
        """Another model takes another share of the text beside a render; other pages were kept for models like it."""
        pictures = tuple(part for part in parts if part.kind is PartKind.IMAGE)
        if self.recipe.pdf.pages_per_segment > 1 or not pictures:
            return parts
        beside, _ = text_beside(text, self.recipe, self.counter, page_room(self.card, len(pictures)))
        return (*pictures, Part(PartKind.TEXT, beside)) if beside else pictures


def asset_rows(
    asset: AssetRows, records: Iterable[Record], unpacker: Unpacker, rows: Segments
) -> Iterator[list[Row]]:
    """The rows that reading an asset's object would have given, its outcome last.

    Args:
        asset: of the listing.
        records: kept rows: of the asset, and of what lies in it where it is an archive; each one's own row first.
        unpacker: for the model.
        rows: makes rows of one asset's segments.
    """
    last: Row | None = None
    for uri, group in groupby(records, key=lambda record: record["uri"]):
        outcome = yield from _one(asset, uri, group, unpacker, rows)
        if uri == asset.uri:
            last = outcome
        else:
            yield [outcome]
    if last is not None:
        yield [last]


def _one(
    asset: AssetRows, uri: str, records: Iterator[Record], unpacker: Unpacker, rows: Segments
) -> Generator[list[Row], None, Row]:
    """The rows of an asset, or of one that lies in it; its outcome is returned."""
    head = next(records)
    if uri != asset.uri:
        asset = asset.member(uri[len(asset.uri) + 2 :], head["size"], head["mtime"])
    asset.digests.append(head["content_hash"])
    asset.media_type = head["media_type"]
    if head["status"] == EXPANDED:
        return asset.expanded(head["segments"], None)
    if asset.has_donor(head["content_hash"]):
        return asset.moved(head["content_hash"])
    yield from rows(asset, unpacker.segments(head, records))
    return asset.outcome(None)
