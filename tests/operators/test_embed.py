"""A batch that the model fails on costs the rows that are to blame, and not many more calls."""

from __future__ import annotations

import numpy as np

from operators.embed import EmbedSegments
from operators.model.contract import Inputs
from operators.parts import Part, PartKind
from schemas.errors import ErrorCode
from schemas.recipe import Recipe
from schemas.space import Space
from tests.models.hashed import HashEngine, HashSpec


class Counted(HashEngine):
    def __init__(self) -> None:
        self.calls = 0

    def embed(self, inputs: Inputs) -> np.ndarray:
        self.calls += 1
        return super().embed(inputs)


def test_two_bad_rows_of_sixty_four_are_found_by_bisection() -> None:
    texts = ["a cat"] * 64
    texts[5], texts[40], texts[63] = "poison", "a poison", "infinite"
    engine = Counted()
    embed = EmbedSegments(
        engine=engine, space=Space(card=HashSpec().card, recipe=Recipe()), token_budget=1 << 20
    )
    inputs = [(Part(PartKind.TEXT, text),) for text in texts]
    vectors, reasons = embed.vectors(inputs, np.full(64, 2, np.int32))
    codes = {i: reason[0] for i, reason in enumerate(reasons) if reason}
    assert codes == {5: ErrorCode.EMBED_FAILED, 40: ErrorCode.EMBED_FAILED, 63: ErrorCode.NOT_FINITE}
    good = [i for i in range(64) if i not in codes]
    assert np.allclose(vectors[good], HashEngine().embed([inputs[0]])[0])
    assert engine.calls <= 1 + 4 * 6
