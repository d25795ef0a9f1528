"""Text with its headings and pictures, from any format, to segments: chunks by section, pictures in their place."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from operators.decode.asset import Asset
from operators.decode.chunk import Chunk, Measured, whole_characters
from operators.decode.sections import Heading, Span, pack
from operators.model.contract import TextCounter
from operators.parts import Locator, Part, PartKind, Segment
from schemas.card import Modality, ModelCard
from schemas.errors import AssetError, ErrorCode

WHOLE_BYTES = 64 << 20
"""Of a format that is parsed as a whole, at about ten times its size in memory."""

_DATA_BYTES = 32 << 20
_MARKERS = 64
"""Tokens left for a model's own markers, beside its prompt."""
_TRANSIENT = (ErrorCode.STORAGE, ErrorCode.CHANGED)
_REMOTE = re.compile(r"(?!s3:|data:|file:)[a-z][a-z0-9+.-]+:|//", re.IGNORECASE)
_SEPARATOR = " > "
_KEPT = 16


Source = str | bytes | Callable[[], bytes | None]
"""A picture: where it is (a path, a URI, a data URI), its bytes, or what reads them."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that stands after character `at`."""

    at: int
    source: Source


@dataclass(frozen=True, slots=True)
class Readable:
    """A text with the places of its headings and pictures, each in the order of the text.

    `page` numbers the slide, sheet, chapter or message that the text is, from 1; `path` are titles above it.
    """

    text: str
    headings: tuple[Heading, ...] = ()
    pictures: tuple[Picture, ...] = ()
    page: int | None = None
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Titles:
    """The titles over a chunk, as a line of its model input; so many tokens."""

    line: str
    tokens: int


@dataclass(frozen=True, slots=True)
class _Piece:
    chunk: Chunk
    titles: _Titles


def readable_segments(texts: Iterable[Readable], asset: Asset) -> Iterator[Segment]:
    """Segments of texts, one after another: within the budget, by section, with the pictures of their span.

    A chunk's model input begins with the titles of its sections where the recipe wants them and they fit a
    quarter of the budget; `Segment.text` is the chunk alone, the characters that the locator names.

    Only the first text may refer to what lies outside the asset.

    Raises:
        AssetError: EMPTY without text or pictures; STORAGE or CHANGED for a picture that may be there tomorrow.
    """
    album = _Album(asset)
    empty = True
    for readable in map(_clean, texts):
        album.announce(readable.pictures if asset.takes_pictures else ())
        for segment in _segments(readable, asset, album):
            empty = False
            yield segment
    if empty:
        raise AssetError(ErrorCode.EMPTY, f"{asset.media.mime} without text")


def _clean(readable: Readable) -> Readable:
    """The text and titles without surrogates; offsets stay, as the formats that write pairs have joined them."""
    return replace(
        readable,
        text=whole_characters(readable.text),
        headings=tuple(replace(h, title=whole_characters(h.title)) for h in readable.headings),
        path=tuple(map(whole_characters, readable.path)),
    )


def _segments(readable: Readable, asset: Asset, album: _Album) -> Iterator[Segment]:
    waiting = deque(readable.pictures if asset.takes_pictures else ())
    page = readable.page
    held: _Piece | None = None
    for piece in _pieces(readable, asset):
        if held is not None:
            yield from _with_pictures(held, _taken(waiting, held.chunk.end), page, asset, album)
        held = piece
    rest = _taken(waiting, len(readable.text))
    if held is None:
        # A slide or a page of pictures alone.
        parts = [part for _, part in album.parts(rest)]
        yield from _albums(parts, Locator(page=page), "", asset)
    else:
        yield from _with_pictures(held, rest, page, asset, album)


def _taken(waiting: deque[Picture], end: int) -> list[Picture]:
    taken = []
    while waiting and waiting[0].at <= end:
        taken.append(waiting.popleft())
    return taken


def _pieces(readable: Readable, asset: Asset) -> Iterator[_Piece]:
    budget, counter, text = asset.text_budget, asset.counter, readable.text
    measured = Measured(text, counter)
    overlap = asset.recipe.text.overlap_tokens
    for span in _spans(readable, measured, budget):
        above = (*readable.path, *span.path) if asset.recipe.text.context else ()
        own = span.own if asset.recipe.text.context else ()
        outer = _titles(above, counter, budget)
        inner = _titles((*above, *own), counter, budget) if own else outer
        room = budget - max(outer.tokens, inner.tokens)
        for piece in measured.chunks(span.start, span.end, room, overlap):
            first = not text[span.start : span.start + piece.start].strip()
            placed = replace(piece, start=span.start + piece.start, end=span.start + piece.end)
            yield _Piece(placed, outer if first else inner)


def _spans(readable: Readable, measured: Measured, budget: int) -> Iterable[Span]:
    """Sections, with an eighth of the budget left for their titles; one span for what fits as it is."""
    size = len(readable.text)
    if not readable.headings or (size <= 16 * budget and measured.count(0, size) <= budget):
        return [Span(0, size, ())]
    return pack(measured, readable.headings, budget - budget // 8)


def _titles(titles: tuple[str, ...], counter: TextCounter, budget: int) -> _Titles:
    """The titles as a line of their own, without the outer ones where all would take more than a quarter."""
    for first in range(len(titles)):
        line = _SEPARATOR.join(" ".join(title.split()) for title in titles[first:]) + "\n\n"
        tokens = counter.count(line)
        if tokens <= budget // 4:
            return _Titles(line, tokens)
    return _Titles("", 0)


def _with_pictures(
    piece: _Piece, pictures: list[Picture], page: int | None, asset: Asset, album: _Album
) -> Iterator[Segment]:
    found = album.parts(pictures)
    text, start = piece.chunk.text, piece.chunk.start
    locator = Locator(page=page, char_start=start, char_end=piece.chunk.end)
    whole, tokens = _joined(piece, asset)
    room = _room(asset.card, tokens)
    if not found or room == 0:
        yield Segment(Modality.TEXT, (Part(PartKind.TEXT, whole),), locator, text)
        yield from _albums([part for _, part in found], locator, text, asset)
        return
    parts: list[Part] = []
    done = -(len(whole) - len(text))
    for at, part in found[:room]:
        upto = min(max(0, at - start), len(text))
        _add_text(parts, whole[len(whole) - len(text) + done : len(whole) - len(text) + upto])
        parts.append(part)
        done = max(done, upto)
    _add_text(parts, whole[len(whole) - len(text) + done :])
    yield Segment(Modality.DOCUMENT, tuple(parts), locator, text)
    yield from _albums([part for _, part in found[room:]], locator, text, asset)


def _add_text(parts: list[Part], text: str) -> None:
    if text.strip():
        parts.append(Part(PartKind.TEXT, text.strip()))


def _joined(piece: _Piece, asset: Asset) -> tuple[str, int]:
    """Titles and chunk with their tokens; the chunk alone where the tokenizer makes more of both than of each."""
    titles, counter = piece.titles, asset.counter
    whole = titles.line + piece.chunk.text
    adds_up = counter.splits_at_spaces or not titles.line
    tokens = titles.tokens + piece.chunk.tokens if adds_up else counter.count(whole)
    return (whole, tokens) if tokens <= asset.text_budget else (piece.chunk.text, piece.chunk.tokens)


def _room(card: ModelCard, text_tokens: int) -> int:
    """Pictures that one input may have beside so much text."""
    rest = card.limits.tokens - text_tokens - min(_MARKERS + card.longest_prompt, card.limits.tokens // 8)
    return max(0, min(card.limits.images, rest // max(1, card.token_costs.image)))


def _albums(parts: list[Part], locator: Locator, text: str, asset: Asset) -> Iterator[Segment]:
    """Segments of pictures alone: what did not fit beside a text, or has none."""
    room = max(1, _room(asset.card, 0))
    for first in range(0, len(parts), room):
        yield Segment(Modality.DOCUMENT, tuple(parts[first : first + room]), locator, text or None)


class _Album:
    """An asset's pictures; so many stay decoded, the others are read again where they are shown."""

    def __init__(self, asset: Asset) -> None:
        self.asset = asset
        self.left = asset.recipe.text.max_images
        self.known: dict[Source, Part | None] = {}
        self.allowed: set[Source] = set()

    def announce(self, pictures: Iterable[Picture]) -> None:
        """Open every reference, before the first segment is given: what is behind them is part of the asset."""
        for picture in pictures:
            if isinstance(picture.source, str) and self._admit(picture.source):
                self._part(picture.source)

    def parts(self, pictures: list[Picture]) -> list[tuple[int, Part]]:
        """The pictures that can be read, with the place of each."""
        found = ((p.at, self._part(p.source)) for p in pictures if self._admit(p.source))
        return [(at, part) for at, part in found if part is not None]

    def _admit(self, source: Source) -> bool:
        if source not in self.allowed and self.left > 0:
            self.left -= 1
            self.allowed.add(source)
        return source in self.allowed

    def _part(self, source: Source) -> Part | None:
        if source in self.known:
            return self.known[source]
        part = self._read(source)
        if part is None or sum(known is not None for known in self.known.values()) < _KEPT:
            self.known[source] = part
        return part

    def _read(self, source: Source) -> Part | None:
        from operators.decode.image import image_part

        try:
            opened = _opened(source, self.asset)
            if opened is None:
                return None
            with opened as file:
                if not _worth_seeing(file, self.asset.recipe.text.image_min_px):
                    return None
                return image_part(file, self.asset.recipe, self.asset.card)
        except AssetError as error:
            if error.code in _TRANSIENT:
                raise
            return None


def _opened(source: Source, asset: Asset) -> BinaryIO | None:
    if not isinstance(source, str):
        data = source if isinstance(source, bytes) else source()
        return None if data is None else io.BytesIO(data)
    if source[:5].lower() == "data:":
        data = data_bytes(source)
        return None if data is None else io.BytesIO(data)
    if _REMOTE.match(source):
        return None
    path = source if "://" in source else unquote(urlsplit(source).path)
    return asset.open_ref(path) if path else None


def data_bytes(uri: str) -> bytes | None:
    """The bytes of a base64 data URI; None where it is none, or too large."""
    head, comma, body = uri.partition(",")
    if not comma or not head.lower().endswith(";base64") or len(body) > _DATA_BYTES * 4 // 3 + 4:
        return None
    try:
        return base64.b64decode(unquote(body))
    except (binascii.Error, ValueError):
        return None


def _worth_seeing(file: BinaryIO, least: int) -> bool:
    """Whether a picture's shorter side has so many pixels, as far as its header tells."""
    from PIL import Image

    from operators.decode.image import FORMATS

    try:
        with Image.open(file, formats=FORMATS) as image:
            return min(image.size) >= least
    except Image.DecompressionBombError:
        return True
    except Exception:
        return False
    finally:
        file.seek(0)
