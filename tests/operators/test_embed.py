"""A batch that the model fails on costs the rows that are to blame, and not many more calls."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from operators.embed import EmbedSegments
from operators.model.contract import Inputs
from operators.parts import Part, PartKind
from schemas.errors import ErrorCode, ModelError
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


class Broken(HashEngine):
    def embed(self, inputs: Inputs) -> np.ndarray:
        raise ModelError("a tower cannot be read")


def test_a_model_that_cannot_be_read_is_no_fault_of_the_rows() -> None:
    embed = EmbedSegments(
        engine=Broken(), space=Space(card=HashSpec().card, recipe=Recipe()), token_budget=1 << 20
    )
    with pytest.raises(ModelError, match="a tower cannot be read"):
        embed.vectors([(Part(PartKind.TEXT, "a cat"),)] * 8, np.full(8, 2, np.int32))


class Meeting(HashEngine):
    """Goes on only when another call is in it, too."""

    def __init__(self, parties: int) -> None:
        self.barrier = threading.Barrier(parties, timeout=30)

    def embed(self, inputs: Inputs) -> np.ndarray:
        if len(inputs) > 1:
            self.barrier.wait()
        return super().embed(inputs)


class Held(HashEngine):
    """Keeps every pass of a block's half waiting until it is let go, and remembers how many rows each had."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.began, self.go = threading.Barrier(3, timeout=30), threading.Event()

    def embed(self, inputs: Inputs) -> np.ndarray:
        self.rows.append(len(inputs))
        if not self.go.is_set():
            self.began.wait()
            self.go.wait(30)
        return super().embed(inputs)


def test_a_block_is_cut_for_passes_that_have_nothing_to_do() -> None:
    engine, inputs = Held(), [(Part(PartKind.TEXT, "cat"),)] * 8
    tokens = np.full(8, 2, np.int32)
    embed = EmbedSegments(
        engine=engine, space=Space(card=HashSpec().card, recipe=Recipe()), token_budget=1 << 20, passes=2
    )
    with ThreadPoolExecutor(2) as callers:
        first = callers.submit(embed.vectors, inputs, tokens)
        engine.began.wait()
        second = callers.submit(embed.vectors, inputs, tokens)
        while sum(not one.done() for one in embed._given) < 3:
            time.sleep(0.01)
        engine.go.set()
        assert np.array_equal(first.result()[0], second.result()[0])
    assert engine.rows == [4, 4, 8]


@pytest.mark.parametrize(("rows", "batches"), [(12, [6] * 2), (40, [20] * 2), (320, [40] * 8)])
def test_no_pass_is_left_with_a_handful_of_a_block(rows: int, batches: list[int]) -> None:
    engine, inputs = Held(), [(Part(PartKind.TEXT, "cat"),)] * rows
    engine.go.set()
    space = Space(card=HashSpec().card, recipe=Recipe())
    embed = EmbedSegments(engine=engine, space=space, token_budget=1 << 20, passes=2)
    embed.vectors(inputs, np.full(rows, 2, np.int32))
    assert engine.rows == batches


def test_a_pool_makes_passes_side_by_side_and_finds_the_same() -> None:
    texts = [f"cat {n}" for n in range(32)]
    texts[7] = "poison"
    inputs = [(Part(PartKind.TEXT, text),) for text in texts]
    tokens = np.full(32, 2, np.int32)
    space = Space(card=HashSpec().card, recipe=Recipe())
    alone = EmbedSegments(engine=HashEngine(), space=space, token_budget=1 << 20)
    side_by_side = EmbedSegments(engine=Meeting(2), space=space, token_budget=1 << 20, passes=2)
    good = [i for i in range(32) if i != 7]
    vectors, reasons = side_by_side.vectors([inputs[i] for i in good], tokens[good])
    wanted, why = alone.vectors(inputs, tokens)
    assert reasons == [None] * 31
    assert why[7] is not None
    assert np.array_equal(vectors, wanted[good])
    pooled = EmbedSegments(engine=HashEngine(), space=space, token_budget=1 << 20, passes=2)
    again, reasons = pooled.vectors(inputs, tokens)
    assert reasons == why
    assert np.array_equal(again, wanted)
