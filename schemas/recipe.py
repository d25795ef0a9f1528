"""The recipe: how assets become segments. Part of a space's identity, so changing it makes another space."""

from __future__ import annotations

import hashlib
import string
from typing import Self

from pydantic import Field, model_validator

from schemas.card import Frozen


class TextRecipe(Frozen):
    """Chunks of text on natural boundaries, counted by the model's own tokenizer."""

    chunk_tokens: int = Field(default=256, gt=8)
    overlap_tokens: int = Field(default=32, ge=0)
    context: bool = Field(
        default=True,
        description="the titles of the sections around a chunk go before it, in a quarter of its tokens at most",
    )
    images: bool = Field(
        default=True,
        description="pictures of Markdown, HTML, notebooks, mail and office files join their text's segment, "
        "where the model takes such mixtures; one that cannot be read leaves the text as it is",
    )
    image_min_px: int = Field(
        default=64, ge=1, description="pictures with a shorter side are decoration and left out"
    )
    max_images: int = Field(default=512, ge=0, description="of one asset; further ones stay text alone")


class RowsRecipe(Frozen):
    """Rows of CSV, TSV, JSON Lines, Parquet and Arrow files as text."""

    template: str | None = Field(
        default=None,
        description="text of one row, such as '{title}: {body}'; without one, a line 'column: value' for each value",
    )
    per_segment: int = Field(default=1, gt=0, description="rows that share a segment")
    header: bool = Field(
        default=True, description="a CSV's first row names the columns; if not, they are 1, 2, ..."
    )
    max_chars: int = Field(default=1 << 20, gt=0, description="of one row; longer ones are quarantined")

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns that the template names, each once; None without a template."""
        if self.template is None:
            return None
        names = (name for _, name, _, _ in string.Formatter().parse(self.template) if name is not None)
        return tuple(dict.fromkeys(names))

    @model_validator(mode="after")
    def _template_names_columns(self) -> Self:
        if self.template is None:
            return self
        fields = [f[1:] for f in string.Formatter().parse(self.template) if f[1] is not None]
        if not fields or any(not name or spec or conversion for name, spec, conversion in fields):
            raise ValueError(
                "a row template names columns in braces, '{title}: {body}', and nothing else in them"
            )
        return self


class UnpackRecipe(Frozen):
    """Compressed files and the zip inside an office file."""

    max_bytes: int = Field(default=1 << 30, gt=0, description="of all that one file unpacks to")
    max_ratio: float = Field(
        default=250, gt=1, description="unpacked to packed, of what is over 16 MiB unpacked"
    )
    max_members: int = Field(default=10_000, gt=0)


class ImageRecipe(Frozen):
    """How pictures are read."""

    max_pixels: int = Field(default=250_000_000, gt=0, description="larger ones are quarantined")
    draft: bool = Field(default=True, description="decode JPEGs at reduced size: fast, 44-50 dB from full")


class AudioRecipe(Frozen):
    """Windows of sound; `window_ms` is capped by the model's own limit."""

    window_ms: int = Field(default=30_000, gt=0)
    overlap_ms: int = Field(default=2_000, ge=0)
    max_hours: float = Field(default=24.0, gt=0)
    skip_silence: bool = Field(
        default=False, description="leave out windows of silence, but never all of them"
    )
    silence_dbfs: float = Field(default=-60.0, lt=0, description="RMS of the loudest 0.1 s, below full scale")


class VideoRecipe(Frozen):
    """Windows of frames with their sound; `window_ms` is capped by the model's own limit."""

    window_ms: int = Field(default=32_000, gt=0)
    overlap_ms: int = Field(default=0, ge=0)
    fps: float = Field(default=1.0, gt=0, le=30)
    sound: bool = True
    max_hours: float = Field(default=24.0, gt=0)
    max_pixels: int = Field(default=50_000_000, gt=0, description="of one frame")
    keyframes: bool = Field(
        default=False, description="keyframes alone: 5-24x faster, frames up to a GOP old"
    )
    scenes: bool = Field(default=False, description="a window ends where the scene changes")
    scene_change: float = Field(default=0.12, gt=0, le=1, description="share of the colours that differ")
    scene_min_ms: int = Field(default=3_000, gt=0, description="shortest scene")


class PdfRecipe(Frozen):
    """Pages as render + text."""

    max_pages: int = Field(default=20_000, gt=0)
    pages_per_segment: int = Field(default=1, gt=0, description="capped by the model's pictures and tokens")
    text_chars: int = Field(default=8_000, ge=0, description="of a page's text that go beside its render")


class DocumentRecipe(Frozen):
    """Interleaved documents."""

    max_parts: int = Field(default=256, gt=0)


class ArchiveRecipe(Frozen):
    """Archives, whose members are assets of their own."""

    expand: bool = True
    max_members: int = Field(default=1_000_000, gt=0)
    max_depth: int = Field(default=2, ge=1, description="archives inside one another, the outermost counted")
    max_ratio: float = Field(
        default=200.0, ge=1, description="bytes read from one byte stored, 256 MiB are free"
    )


class Recipe(Frozen):
    """Everything that decides which segments an asset gives."""

    version: int = 1
    max_asset_bytes: int = Field(default=16 << 30, gt=0)
    text: TextRecipe = TextRecipe()
    rows: RowsRecipe = RowsRecipe()
    unpack: UnpackRecipe = UnpackRecipe()
    image: ImageRecipe = ImageRecipe()
    audio: AudioRecipe = AudioRecipe()
    video: VideoRecipe = VideoRecipe()
    pdf: PdfRecipe = PdfRecipe()
    document: DocumentRecipe = DocumentRecipe()
    archive: ArchiveRecipe = ArchiveRecipe()

    @property
    def digest(self) -> str:
        """A sha256 over the canonical JSON: equal recipes have equal digests."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
