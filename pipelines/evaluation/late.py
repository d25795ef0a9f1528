"""Late fusion: separate encoders with a map each into one space, and the sum of their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer

from operators.model.bert.text import BertText
from operators.model.composed.fusion import Vector, unit
from operators.model.composed.ingredients import SPEECH_TOKENIZER, TEXT, TEXT_SHAPE
from operators.model.contract import Inputs
from operators.model.fused.engine import FusedEngine
from operators.model.fused.greedy import CANDIDATES
from operators.model.fused.whisper_encoder import WIDTH
from operators.model.tokens import FastTokenizer
from operators.parts import Part, PartKind
from pipelines.evaluation.items import Vectors

_MOST = 254
"""Tokens of a transcript that the text tower reads."""
Rows = list[tuple[int, PartKind, npt.NDArray[np.int32]]]
Map = Callable[[Vectors], Vectors]


class LateFusion:
    """An engine of separate vectors, of length one for each kind of part, added.

    Text by MiniLM through `say`; a picture by the fused model's frozen vision tower through `see`; a sound by the
    transcript of its hearing tower, read as text. A sound without words adds nothing beside other parts.
    """

    def __init__(self, fused: FusedEngine, see: Map, say: Map) -> None:
        folder = TEXT.verified().parent
        self._fused, self._look, self._say = fused, see, say
        self._text = BertText.load(folder, TEXT_SHAPE, fused.device, torch.float32)
        self._tokenizer = FastTokenizer.from_folder(folder)
        self._heard: Tokenizer = Tokenizer.from_file(str(SPEECH_TOKENIZER.verified()))

    def embed(self, inputs: Inputs) -> Vectors:
        """Unit vectors of prepared inputs: float32 `[inputs, dim]`."""
        flat = [(i, part) for i, parts in enumerate(inputs) for part in parts]
        rows: Rows = [(i, p.kind, p.array) for i, p in flat if p.kind is PartKind.TOKENS]
        rows += self._hear(
            [(i, p) for i, p in flat if p.kind is PartKind.AUDIO], [len(parts) for parts in inputs]
        )
        found: list[list[tuple[PartKind, float, Vector]]] = [[] for _ in inputs]
        if rows:
            said = self._say(self._text.read([r for _, _, r in rows]))
            for (i, kind, row), vector in zip(rows, said, strict=True):
                found[i].append((kind, float(len(row)), unit(vector)))
        pictures = [(i, p) for i, p in flat if p.kind in (PartKind.IMAGE, PartKind.FRAME)]
        for (i, part), vector in zip(pictures, self._see([p for _, p in pictures]), strict=True):
            found[i].append((part.kind, 1.0, unit(vector)))
        return np.stack([_added(parts) for parts in found])

    def _see(self, parts: Sequence[Part]) -> Sequence[Vector]:
        if not parts:
            return []
        seen = [features.float().cpu().numpy() for features in self._fused.see([p.array for p in parts])]
        return list(self._look(np.stack(seen)))

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


def _added(parts: Sequence[tuple[PartKind, float, Vector]]) -> Vector:
    """The sum over kinds of the mean of each kind's vectors, all at length one."""
    kinds = dict.fromkeys(kind for kind, _, _ in parts)
    means = [unit(np.sum([share * v for k, share, v in parts if k is kind], axis=0)) for kind in kinds]
    return unit(np.sum(means, axis=0))
