"""One engine that several threads call at once gives what it gives to one, whatever the model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from operators.decode.image import target_size
from operators.model.contract import Inputs, ModelSpec
from operators.model.registry import BASELINE_MODEL, FUSED_MODEL, resolve
from operators.parts import Part, PartKind
from schemas.card import Modality, Role
from tests.operators.model.shipped import with_ingredients

THREADS = 4


def asked(spec: ModelSpec) -> Inputs:
    """Texts of different lengths, and of the other kinds what the model takes."""
    draw = np.random.default_rng(0)
    inputs = [(Part(PartKind.TEXT, "a cat " * (n + 1)),) for n in range(6)]
    if spec.card.image is not None:
        width, height = target_size(96, 96, spec.card.image)
        inputs += [
            (Part(PartKind.IMAGE, data=draw.integers(0, 256, (height, width, 3), np.uint8)),)
            for _ in range(6)
        ]
    if Modality.AUDIO in spec.card.modalities:
        inputs += [
            (Part(PartKind.AUDIO, data=draw.normal(0, 2_000, 16_000 * n).astype(np.int16)),)
            for n in (1, 2, 2)
        ]
    return spec.preparer(Role.DOCUMENT).prepare(inputs)[0]


@pytest.mark.parametrize(
    "model",
    [
        "tiny_text",
        "tiny_gemma",
        *(pytest.param(name, marks=with_ingredients) for name in (BASELINE_MODEL, FUSED_MODEL)),
    ],
)
def test_threads_get_what_one_caller_gets(model: str, request: pytest.FixtureRequest) -> None:
    if model.startswith("tiny"):
        folder: Path = request.getfixturevalue(model)
        spec = resolve(str(folder))
    else:
        spec = resolve(model)
    assert spec.concurrent
    inputs = asked(spec)
    engine = spec.load("cpu", threads=1)
    # The first calls of all are the threads' own: what an engine makes at its first call is made among them.
    with ThreadPoolExecutor(THREADS) as pool:
        turns = [np.random.default_rng(n).permutation(len(inputs)) for n in range(3 * THREADS)]
        found = list(pool.map(lambda turn: engine.embed([inputs[i] for i in turn]), turns))
    alone = engine.embed(inputs)
    unit = alone / np.linalg.norm(alone, axis=1, keepdims=True)
    for turn, vectors in zip(turns, found, strict=True):
        got = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        assert np.all((got * unit[turn]).sum(1) > 0.9999)
