"""The CPU half of the composed model: text to windows of tokens, media checked and passed on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from operators.model.contract import Inputs
from operators.model.tokens import FastTokenizer
from operators.parts import Part, PartKind, token_estimate
from schemas.card import ModelCard
from schemas.errors import AssetError, ErrorCode, Stage

WINDOW = 254
"""Tokens of one pass of the text tower, special ones left out: what it was trained for."""


@dataclass(frozen=True, slots=True)
class ComposedPreparer:
    """Tokenizes; a text longer than the tower takes becomes several parts of equal length."""

    counter: FastTokenizer
    card: ModelCard
    prompt: str

    def prepare(self, inputs: Inputs) -> tuple[list[tuple[Part, ...]], list[int]]:
        """Parts of tokens, pixels and samples, and the tokens that each input costs.

        Raises:
            AssetError: nothing to embed, or pixels of another size than the card's (stage `prepare`).
        """
        prepared = [tuple(p for part in parts for p in self._part(part)) for parts in inputs]
        if not all(prepared):
            raise AssetError(ErrorCode.EMPTY, "nothing to embed: no text, picture or sound", Stage.PREPARE)
        return prepared, [token_estimate(parts, self.card) for parts in prepared]

    def _part(self, part: Part) -> list[Part]:
        if part.kind is PartKind.TEXT:
            return self._windows(part)
        if part.kind in (PartKind.IMAGE, PartKind.FRAME):
            self._check_pixels(part.array)
        return [part] if part.kind is PartKind.TOKENS or part.array.size else []

    def _windows(self, part: Part) -> list[Part]:
        text = part.text or ""
        if not text.strip():
            return []
        ids = self.counter.ids(self.prompt + text)
        return [self._tokens(part, r) for r in np.array_split(ids, max(1, -(-len(ids) // WINDOW)))]

    def _tokens(self, part: Part, ids: npt.NDArray[np.int32]) -> Part:
        """A part of tokens between the model's own first and last one, in the place of a text."""
        data = np.concatenate([self.counter.prefix, ids, self.counter.suffix])
        return replace(part, kind=PartKind.TOKENS, text=None, data=data)

    def _check_pixels(self, pixels: npt.NDArray[np.uint8]) -> None:
        side = self.card.image.side if self.card.image else 0
        if pixels.shape != (side, side, 3):
            detail = f"pixels are {pixels.shape}, model '{self.card.model_id}' takes {(side, side, 3)}"
            raise AssetError(ErrorCode.INTERNAL, detail, Stage.PREPARE)
