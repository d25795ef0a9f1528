"""The loaded composed model: each tower runs once over all parts of a batch, then parts are fused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from operators.model.composed.fusion import Vector, fuse
from operators.model.contract import Inputs
from operators.model.tokens import FastTokenizer
from operators.parts import PartKind

if TYPE_CHECKING:
    import torch

    from operators.model.bert.text import BertText
    from operators.model.composed.heads import ImageHead
    from operators.model.composed.speech import SpeechTower
    from operators.model.composed.vision import VisionTower

WORDLESS = "a sound without words"
"""What an input of sound alone is embedded as when nobody speaks in it."""
_IMAGES = {"cpu": 32}
_TRANSCRIPT_TOKENS = 254


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposedEngine:
    """The towers on one device; `rotation` float32 `[384, 384]` orders the axes by what they tell."""

    text: BertText
    vision: VisionTower
    speech: SpeechTower
    head: ImageHead
    rotation: Vector
    tokenizer: FastTokenizer
    device: torch.device

    def embed(self, inputs: Inputs) -> npt.NDArray[np.float32]:
        """Unit vectors of prepared inputs: float32 `[inputs, 384]`."""
        flat = [(i, part) for i, parts in enumerate(inputs) for part in parts]
        sounds = [(i, part.array) for i, part in flat if part.kind is PartKind.AUDIO]
        words = [(i, text) for (i, _), text in zip(sounds, self._hear(sounds), strict=True)]
        alone = {i for i, parts in enumerate(inputs) if all(p.kind is PartKind.AUDIO for p in parts)}
        alone -= {i for i, text in words if text}
        words = [(i, text) for i, text in words if text] + [(i, WORDLESS) for i in sorted(alone)]
        rows = [(i, PartKind.TOKENS, p.array) for i, p in flat if p.kind is PartKind.TOKENS]
        rows += [(i, PartKind.AUDIO, row) for i, text in words for row in self._tokens(text)]
        pixels = [(i, p.kind, p.array) for i, p in flat if p.kind in (PartKind.IMAGE, PartKind.FRAME)]
        found: list[list[tuple[PartKind, float, Vector]]] = [[] for _ in inputs]
        for (i, kind, row), vector in zip(rows, self._read([r for _, _, r in rows]), strict=True):
            found[i].append((kind, float(len(row)), vector))
        for (i, kind, _), vector in zip(pixels, self._see([p for _, _, p in pixels]), strict=True):
            found[i].append((kind, 1.0, vector))
        fused: npt.NDArray[np.float32] = np.stack([fuse(parts) for parts in found]) @ self.rotation.T
        return fused

    def transcribe(self, sounds: Sequence[npt.NDArray[np.int16]]) -> list[str]:
        """What is said in each sound, `""` where nothing is."""
        return self.speech.transcribe(sounds)

    def _hear(self, sounds: list[tuple[int, npt.NDArray[Any]]]) -> list[str]:
        return self.speech.transcribe([sound for _, sound in sounds]) if sounds else []

    def _tokens(self, text: str) -> list[npt.NDArray[np.int32]]:
        ids = self.tokenizer.ids(text)
        windows = np.array_split(ids, max(1, -(-len(ids) // _TRANSCRIPT_TOKENS)))
        return [np.concatenate([self.tokenizer.prefix, w, self.tokenizer.suffix]) for w in windows]

    def _read(self, rows: list[npt.NDArray[np.int32]]) -> Sequence[Vector]:
        return list(self.text.read(rows)) if rows else []

    def _see(self, pixels: list[npt.NDArray[Any]]) -> Sequence[Vector]:
        import torch

        size = _IMAGES.get(self.device.type, 256)
        vectors: list[Vector] = []
        for start in range(0, len(pixels), size):
            batch = torch.from_numpy(np.stack(pixels[start : start + size]))
            with torch.inference_mode():
                vectors.extend(self.head(self.vision(batch)).cpu().numpy())
        return vectors
