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

    @property
    def digest(self) -> str:
        """A sha256 over the canonical JSON: equal recipes have equal digests."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()
