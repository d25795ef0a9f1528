"""The recipe: how assets become segments. Part of a space's identity, so changing it makes another space."""

from __future__ import annotations

import hashlib

from pydantic import Field

from schemas.card import Frozen


class TextRecipe(Frozen):
    """Chunks of text on natural boundaries, counted by the model's own tokenizer."""

    chunk_tokens: int = Field(default=256, gt=8)
    overlap_tokens: int = Field(default=32, ge=0)


class ImageRecipe(Frozen):
    """How pictures are read."""

    max_pixels: int = Field(default=250_000_000, gt=0, description="larger ones are quarantined")
    draft: bool = Field(default=True, description="decode JPEGs at reduced size: fast, 44-50 dB from full")


class AudioRecipe(Frozen):
    """Windows of sound; `window_ms` is capped by the model's own limit."""

    window_ms: int = Field(default=30_000, gt=0)
    overlap_ms: int = Field(default=2_000, ge=0)
    max_hours: float = Field(default=24.0, gt=0)


class VideoRecipe(Frozen):
    """Windows of frames with their sound; `window_ms` is capped by the model's own limit."""

    window_ms: int = Field(default=32_000, gt=0)
    overlap_ms: int = Field(default=0, ge=0)
    fps: float = Field(default=1.0, gt=0, le=30)
    sound: bool = True
    max_hours: float = Field(default=24.0, gt=0)
    max_pixels: int = Field(default=50_000_000, gt=0, description="of one frame")


class PdfRecipe(Frozen):
    """Pages as render + text."""

    max_pages: int = Field(default=20_000, gt=0)
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
