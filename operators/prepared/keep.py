"""Put an asset's decoded media beside its rows, to be kept."""

from __future__ import annotations

from collections.abc import Iterable

from operators.parts import PartKind, Segment
from operators.prepared.codec import pack
from operators.prepared.fit import KeptFor
from operators.rows import Row

_PICTURES = (PartKind.IMAGE, PartKind.FRAME)


class Keeper:
    """One asset while its segments go by."""

    def __init__(self, made_for: KeptFor) -> None:
        self._made_for = made_for
        self._sides: set[int] = set()

    def keep(self, batch: Iterable[Segment], rows: Iterable[tuple[Row, Segment]]) -> None:
        """Add the media of each row's segment to it; `batch` are those that were staged before, too."""
        pictures = (part.array for segment in batch for part in segment.parts if part.kind in _PICTURES)
        self._sides.update(min(pixels.shape[:2]) for pixels in pictures)
        for row, segment in rows:
            media, layout = pack(segment.parts)
            row.update(kept=True, kept_media=media, kept_parts=layout)

    @property
    def kept_for(self) -> str:
        """What the asset's own row says of them, when all segments have gone by."""
        shortest = min(self._sides, default=None)
        return self._made_for.model_copy(update={"short_side": shortest}).model_dump_json()
