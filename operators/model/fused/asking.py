"""A short text beside a long one: said again throughout it, as the mean over tokens would else hardly hear it.

Saying an input twice for the sake of its embedding is "Repetition Improves Language Model Embeddings" (Springer et al.,
2024); here it is the question that is repeated, between pieces of what it is asked about.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Ids = npt.NDArray[np.int32]

SHARE = 0.25
"""Of the text's tokens that a question comes to hold."""
LONG = 48
"""Tokens of a text that a question is woven into; a shorter one is a sentence, which pieces would break."""
_LEAST = 3
"""Times that a question is said, or it is heard as it stands."""
_PLACE_BITS = 20
"""Of a token's number, the lower bits are its place in the vocabulary, those above them its role."""


class TextRole(IntEnum):
    """What a token is in a text with a question woven into it; every other token is plain."""

    PLAIN = 0
    READ = 1
    ASKED = 2


def as_role(ids: Ids, role: TextRole) -> Ids:
    """Token ids `[tokens]` that carry a role."""
    return ids | np.int32(role << _PLACE_BITS)


def told_apart(ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Places in the vocabulary and roles of token ids, each int64 `[tokens]`."""
    return ids & ((1 << _PLACE_BITS) - 1), ids >> _PLACE_BITS


def times(read: int, asked: int, room: int, share: float = SHARE) -> int:
    """How often a question is said in a text, 1 where it is to stay where it stands.

    Args:
        read: tokens of the text, or of one window of it.
        asked: tokens of the question.
        room: tokens that the text and every saying may take.
        share: of all these tokens that the question is to hold.
    """
    wanted = round(share / (1 - share) * read / asked)
    most = (room - read) // asked
    return min(wanted, most) if read >= LONG and min(wanted, most) >= _LEAST else 1


def woven(read: Ids, asked: Ids, count: int, *, first: bool) -> Ids:
    """The text in `count` pieces, after each of them the question, or `first` before each: int32 `[tokens]`."""
    said, pieces = as_role(asked, TextRole.ASKED), np.array_split(as_role(read, TextRole.READ), count)
    return np.concatenate([part for piece in pieces for part in ((said, piece) if first else (piece, said))])
