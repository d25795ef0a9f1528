"""Weights as they are shipped: only what was trained, large matrices as int8 rows; the rest is in the ingredients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from operators.model.composed import ingredients

_FROZEN = ("trunk.embeddings.", "vision.concepts.classifier.")
_SCALE = ".scale"
_LARGE = 1 << 16
_INT8 = 127.0


def pack(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What was trained, small: float16, and matrices of 65,536 numbers or more as int8 rows with a scale each."""
    packed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(_FROZEN):
            continue
        if not tensor.is_floating_point():
            packed[name] = tensor.contiguous()
        elif tensor.ndim == 2 and tensor.numel() >= _LARGE:
            scale = (tensor.abs().amax(1, keepdim=True).clamp(min=1e-6) / _INT8).half()
            packed[name] = (tensor / scale.float()).round().clamp(-_INT8, _INT8).to(torch.int8)
            packed[name + _SCALE] = scale
        else:
            packed[name] = tensor.half().contiguous()
    return packed


def unpack(packed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The float32 tensors of a packed or a plain state."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in packed:
            continue
        scale = packed.get(name + _SCALE)
        wide = tensor if scale is None and not tensor.is_floating_point() else tensor.float()
        state[name] = wide if scale is None else wide * scale.float()
    return state


def load_whole(path: Path) -> dict[str, torch.Tensor]:
    """A state with what it lacks added from the ingredients.

    Raises:
        ModelError: an ingredient is missing or another one.
    """
    state = unpack(load_file(path))
    return state if any(name.startswith(_FROZEN) for name in state) else {**ingredient_state(), **state}


def ingredient_state() -> dict[str, torch.Tensor]:
    """The trunk and the classifier as they were pretrained, under the network's names.

    Raises:
        ModelError: an ingredient is missing or another one.
    """
    from operators.model.fused.efficientnet import load_tower

    text = load_file(ingredients.TEXT.verified())
    state = {
        f"trunk.{name}": tensor
        for name, tensor in text.items()
        if not name.startswith("pooler.") and not name.endswith("position_ids")
    }
    for name, tensor in load_tower(ingredients.CLASSIFIER.verified()).classifier.state_dict().items():
        state[f"vision.concepts.classifier.{name}"] = tensor
    return state
