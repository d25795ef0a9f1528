"""Late fusion of the fused model's own towers: what its trunk has to beat on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from operators.model.composed.fusion import Vector, fuse
from operators.model.composed.ingredients import SPEECH_TOKENIZER, TEXT
from operators.model.composed.text import TextTower
from operators.model.contract import Inputs
from operators.model.fused.engine import FusedEngine
from operators.model.fused.towers import CANDIDATES, WIDTH
from operators.model.tokens import FastTokenizer
from operators.parts import Part, PartKind
from pipelines.evaluation.items import Vectors

_MOST = 254
"""Tokens of a transcript that the text tower reads."""
Rows = list[tuple[int, PartKind, npt.NDArray[np.int32]]]


class LateFusion:
    """An engine of separate vectors in the text tower's space, added by weight.

    Text by MiniLM; a picture by the concept that the fused model's vision names; a sound by the transcript of its
    hearing tower, read by MiniLM. A sound without words adds nothing beside other parts.
    """

    def __init__(self, fused: FusedEngine) -> None:
        folder = TEXT.verified().parent
        self._fused = fused
        self._text = TextTower(folder, fused.device)
        self._tokenizer = FastTokenizer.from_folder(folder)
        self._heard: Tokenizer = Tokenizer.from_file(str(SPEECH_TOKENIZER.verified()))

    def embed(self, inputs: Inputs) -> Vectors:
        """Unit vectors of prepared inputs: float32 `[inputs, 384]`."""
        flat = [(i, part) for i, parts in enumerate(inputs) for part in parts]
        rows: Rows = [(i, p.kind, p.array) for i, p in flat if p.kind is PartKind.TOKENS]
        rows += self._hear(
            [(i, p) for i, p in flat if p.kind is PartKind.AUDIO], [len(parts) for parts in inputs]
        )
        found: list[list[tuple[PartKind, float, Vector]]] = [[] for _ in inputs]
        if rows:
            for (i, kind, row), vector in zip(rows, self._text.embed([r for _, _, r in rows]), strict=True):
                found[i].append((kind, float(len(row)), vector))
        pictures = [(i, p) for i, p in flat if p.kind in (PartKind.IMAGE, PartKind.FRAME)]
        for (i, part), vector in zip(pictures, self._see([p for _, p in pictures]), strict=True):
            found[i].append((part.kind, 1.0, vector))
        return np.stack([fuse(parts) for parts in found])

    def _see(self, parts: Sequence[Part]) -> Sequence[Vector]:
        if not parts:
            return []
        with torch.inference_mode():
            seen = torch.stack([features[0] for features in self._fused.see([p.array for p in parts])])
            concepts: torch.Tensor = self._fused.network.vision.concepts(seen)
        return list(np.asarray(concepts.float().cpu().numpy(), np.float32))

    def _hear(self, sounds: Sequence[tuple[int, Part]], parts: Sequence[int]) -> Rows:
        """Transcripts as rows of the text tower's tokens."""
        rows: Rows = []
        for (i, part), features in zip(sounds, self._fused.hear([p.array for _, p in sounds]), strict=True):
            spoken = features[features[:, -CANDIDATES:].sum(1) > 0, WIDTH].long().tolist()
            ids = self._tokenizer.ids(self._heard.decode(spoken).strip())[:_MOST]
            if len(ids) or parts[i] == 1:
                rows.append(
                    (i, part.kind, np.concatenate([self._tokenizer.prefix, ids, self._tokenizer.suffix]))
                )
        return rows
