"""Interleaved documents: a JSON list of parts becomes one segment, one vector.

    {
      "title": "optional; goes before the parts as text",
      "parts": [
        "a string is a text part",
        {"type": "text",  "text": "..."},
        {"type": "image", "uri": "photos/1.jpg"},
        {"type": "image", "data": "data:image/png;base64,..."},
        {"type": "audio", "uri": "s3://bucket/talk.mp3", "start_ms": 5000, "end_ms": 15000},
        {"type": "video", "uri": "clip.mp4"},
        {"type": "pdf",   "uri": "report.pdf", "page": 3}
      ],
      "any other key": "belongs to the user and is not read here"
    }

A medium has a `uri`, relative to the document or absolute, or its bytes in `data` (base64, `DATA_BYTES` at
most). Sound and video give the span from `start_ms` (0 when left out) to `end_ms`, which must fit the model;
without `end_ms` one window of the recipe. A page of a PDF, the first by default, gives its render and its text.
Whatever does not fit the model's sequence as a whole is refused: nothing of a document is cut silently.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator
from typing import Annotated, Any, BinaryIO, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from operators.decode.asset import OpenReference
from operators.decode.image import image_part
from operators.decode.lenient import parsed
from operators.decode.pdf import pdf_page
from operators.decode.span import span_parts
from operators.model.contract import TextCounter
from operators.parts import Part, PartKind, Segment, token_estimate
from schemas.card import Frozen, Modality, ModelCard
from schemas.errors import AssetError, ErrorCode
from schemas.recipe import Recipe

DATA_BYTES = 32 << 20
"""Of one part's inline data, decoded."""


class TextPart(Frozen):
    """Text as it stands."""

    type: Literal["text"]
    text: str


class _Medium(Frozen):
    uri: str | None = Field(default=None, min_length=1)
    data: str | None = Field(default=None, min_length=1, repr=False)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.uri is None) == (self.data is None):
            raise ValueError("give either 'uri' or 'data'")
        return self


class ImagePart(_Medium):
    """A picture; the first of an animation or a multi-page TIFF."""

    type: Literal["image"]


class _TimedPart(_Medium):
    start_ms: int = Field(default=0, ge=0)
    end_ms: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Self:
        if self.end_ms is not None and self.end_ms <= self.start_ms:
            raise ValueError(f"end_ms {self.end_ms} is not after start_ms {self.start_ms}")
        return self


class AudioPart(_TimedPart):
    """A span of sound."""

    type: Literal["audio"]


class VideoPart(_TimedPart):
    """A span of video, with its sound where the recipe and the model want it."""

    type: Literal["video"]


class PdfPart(_Medium):
    """A page of a PDF, counted from 1."""

    type: Literal["pdf"]
    page: int = Field(default=1, ge=1)


def _bare_text(value: Any) -> Any:
    return {"type": "text", "text": value} if isinstance(value, str) else value


_MediumPart = ImagePart | AudioPart | VideoPart | PdfPart
_AnyPart = TextPart | _MediumPart
DocumentPart = Annotated[Annotated[_AnyPart, Field(discriminator="type")], BeforeValidator(_bare_text)]


class Document(BaseModel):
    """The JSON form; keys that it does not name are the user's metadata."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    title: str | None = None
    parts: tuple[DocumentPart, ...]


def decode_document(
    data: bytes, recipe: Recipe, card: ModelCard, counter: TextCounter, open_ref: OpenReference
) -> Iterator[Segment]:
    """One segment of a document in JSON; its `text` is all its texts, those of PDF pages included.

    Raises:
        AssetError: INVALID_DOCUMENT, EMPTY, LIMIT (with the numbers), MODALITY, and what the media and
            `open_ref` raise, naming the part.
    """
    document = parse_document(data)
    if len(document.parts) > recipe.document.max_parts:
        detail = f"{len(document.parts)} parts, the recipe allows {recipe.document.max_parts}"
        raise AssetError(ErrorCode.LIMIT, detail)
    reader = _Reader(recipe, card, counter, open_ref)
    if document.title is not None:
        reader.add_text(document.title)
    for number, part in enumerate(document.parts, 1):
        reader.add(number, part)
    yield reader.segment()


def parse_document(data: bytes) -> Document:
    """The document, checked.

    Raises:
        AssetError: INVALID_DOCUMENT, with where and what in one line.
    """
    try:
        return parsed(Document, data.removeprefix(b"\xef\xbb\xbf"))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(at) for at in first["loc"])
        detail = f"{where}: {first['msg']}" if where else first["msg"]
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise AssetError(ErrorCode.INVALID_DOCUMENT, " ".join(f"{detail}{more}".split())) from error


class _Reader:
    """The model input of a document, while it grows; limits are checked part by part."""

    def __init__(
        self, recipe: Recipe, card: ModelCard, counter: TextCounter, open_ref: OpenReference
    ) -> None:
        self.recipe, self.card, self.counter, self.open_ref = recipe, card, counter, open_ref
        self.parts: list[Part] = []
        self.texts: list[str] = []
        self.sources: list[Modality] = []
        self.text_tokens = 0

    def add_text(self, text: str) -> None:
        """Text that is more than spaces."""
        if text.strip():
            self._take(Modality.TEXT)
            self.texts.append(text.strip())
            self._extend([Part(PartKind.TEXT, text)])

    def add(self, number: int, part: _AnyPart) -> None:
        """One part; errors name it."""
        if isinstance(part, TextPart):
            self.add_text(part.text)
            return
        try:
            self._add_medium(part)
        except AssetError as error:
            where = f"part {number} ({part.type}{'' if part.uri is None else f' {part.uri}'})"
            raise AssetError(error.code, f"{where}: {error.detail}", error.stage) from error

    def segment(self) -> Segment:
        """The whole, within the model's limits by now."""
        if not self.parts:
            raise AssetError(ErrorCode.EMPTY, "a document without parts that hold anything")
        alike = len(self.sources) == 1 or set(self.sources) == {Modality.TEXT}
        if not alike and not self.card.accepts(Modality.DOCUMENT):
            mixture = ", ".join(sorted(set(self.sources)))
            detail = f"{self.card.model_id} takes no document of several parts ({mixture})"
            raise AssetError(ErrorCode.MODALITY, detail)
        return Segment(Modality.DOCUMENT, tuple(self.parts), text="\n".join(self.texts) or None)

    def _add_medium(self, part: _MediumPart) -> None:
        modality = Modality.PAGE if isinstance(part, PdfPart) else Modality(part.type)
        if modality is Modality.PAGE and not self.card.accepts(Modality.PAGE):
            # A model of text reads a page's text.
            modality = Modality.TEXT
        self._take(modality)
        with self.open_ref(part.uri) if part.uri is not None else _inline(part.data or "") as file:
            self._extend(self._medium(part, file))

    def _medium(self, part: _MediumPart, file: BinaryIO) -> list[Part]:
        if isinstance(part, ImagePart):
            return [image_part(file, self.recipe, self.card)]
        if isinstance(part, PdfPart):
            page = pdf_page(file, part.page, self.recipe, self.card, self.counter)
            self.texts.extend([page.text] if page.text else [])
            return list(page.parts)
        return span_parts(file, Modality(part.type), (part.start_ms, part.end_ms), self.recipe, self.card)

    def _take(self, modality: Modality) -> None:
        if not self.card.accepts(modality):
            raise AssetError(ErrorCode.MODALITY, f"{self.card.model_id} takes no {modality}")
        self.sources.append(modality)

    def _extend(self, parts: list[Part]) -> None:
        """Take parts into the input while it fits the model."""
        self.parts.extend(parts)
        self.text_tokens += sum(self.counter.count(p.text) for p in parts if p.text is not None)
        limits = self.card.limits
        images = sum(part.kind is PartKind.IMAGE for part in self.parts)
        tokens = self.text_tokens + token_estimate(self.parts, self.card)
        for count, most, what in (
            (images, limits.images, "images"),
            (self.text_tokens, limits.text_tokens, "tokens of text"),
            (tokens, limits.tokens, "tokens"),
        ):
            if count > most:
                detail = f"{count} {what} so far, {self.card.model_id} takes {most} in one input"
                raise AssetError(ErrorCode.LIMIT, detail)


def _inline(data: str) -> BinaryIO:
    """The bytes of a base64 data URI."""
    head, comma, body = data.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        raise AssetError(ErrorCode.INVALID_DOCUMENT, "'data' is not a 'data:<type>;base64,...' URI")
    if len(body) > DATA_BYTES * 4 // 3 + 4:
        raise AssetError(ErrorCode.LIMIT, f"inline data of more than {DATA_BYTES} bytes; give it a uri")
    try:
        return io.BytesIO(base64.b64decode(body, validate=True))
    except binascii.Error as error:
        raise AssetError(ErrorCode.INVALID_DOCUMENT, f"'data' is not base64: {error}") from error
