"""bfloat16 products: where a device has them, about the same vectors, and float32 where that is asked for."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch

from operators.model.bert.text import BertText
from operators.model.composed import ingredients
from operators.model.device import product_dtype
from operators.model.registry import BASELINE_MODEL, FUSED_MODEL, resolve
from operators.parts import Part, PartKind
from schemas.card import Role
from tests.operators.model.shipped import with_ingredients

Vectors = npt.NDArray[np.float32]
CPU = torch.device("cpu")
WORDS = [
    "a",
    "grey",
    "cat",
    "sleeps",
    "on",
    "the",
    "warm",
    "roof",
    "while",
    "two",
    "dogs",
    "wait",
    "below",
    "for",
    "the",
    "rain",
    "to",
    "end",
]


def texts() -> list[tuple[Part, ...]]:
    """Of 1 to 240 words."""
    draw = np.random.default_rng(0)
    return [(Part(PartKind.TEXT, " ".join(draw.choice(WORDS, n))),) for n in (1, 4, 20, 90, 160)]


def pictures(side: int) -> list[tuple[Part, ...]]:
    """Discs and stripes of any colours."""
    draw = np.random.default_rng(0)
    down, right = np.mgrid[:side, :side]
    found = []
    for radius in (30, 60, 90, 110):
        disc = (down - side / 2) ** 2 + (right - side / 2) ** 2 < radius**2
        stripes = (right // (radius // 3)) % 2 == 0
        colours = draw.integers(0, 256, (3, 3), np.uint8)
        found.append((Part(PartKind.IMAGE, data=colours[np.where(disc, 2, stripes.astype(int))]),))
    return found


def both(monkeypatch: pytest.MonkeyPatch, module: str, name: str, inputs: list[tuple[Part, ...]]) -> Vectors:
    """Cosines of each input's vectors in float32 and with bfloat16 products, whatever this CPU has."""
    spec = resolve(name)
    prepared = spec.preparer(Role.DOCUMENT).prepare(inputs)[0]
    exact = spec.load("cpu", threads=1, exact=True).embed(prepared)
    monkeypatch.setattr(f"operators.model.{module}.product_dtype", lambda _, exact: torch.bfloat16)
    rough = spec.load("cpu", threads=1).embed(prepared)
    assert rough.dtype == np.float32
    assert not np.array_equal(exact, rough), "else nothing was made in bfloat16"
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (exact, rough)]
    return np.asarray((unit[0] * unit[1]).sum(1), np.float32)


@with_ingredients
def test_texts_are_the_same_to_four_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(ingredients.TEXT.path().parent)
    assert both(monkeypatch, "sentence_transformer", name, texts()).min() > 0.9999


@with_ingredients
@pytest.mark.parametrize(("name", "module"), [(FUSED_MODEL, "fused.spec"), (BASELINE_MODEL, "composed.spec")])
def test_pictures_and_mixtures_are_the_same_to_three_digits(
    name: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = resolve(name).card
    assert card.image is not None
    seen = pictures(card.image.side)
    mixed = [(*picture, *text) for picture, text in zip(seen, texts(), strict=False)]
    assert both(monkeypatch, module, name, [*texts(), *seen, *mixed]).min() > 0.998


@pytest.mark.parametrize(
    ("has", "expected"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_a_cpu_calculates_in_bfloat16_when_it_has_instructions_for_it(
    has: dict[str, bool], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    assert product_dtype(CPU) is expected
    assert product_dtype(CPU, exact=True) is torch.float32


def test_an_exact_engine_holds_float32_weights(tiny_text: str) -> None:
    engine = resolve(str(tiny_text)).load("cpu", exact=True)
    assert isinstance(engine, BertText)
    assert {weight.dtype for weight in engine.encoder.parameters()} == {torch.float32}
