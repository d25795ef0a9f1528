"""Weights as they are shipped: only what was trained, large matrices as int8 rows; the rest is in the ingredients."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from operators.model.composed import ingredients

_FROZEN = ("trunk.embeddings.", "vision.concepts.classifier.")
_SCALE, _CHANGE = ".scale", "change:"
_LARGE = 1 << 16
_INT8 = 127.0


def pack(
    state: Mapping[str, torch.Tensor], ingredients_: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """What was trained, small: float16, and matrices of 65,536 numbers or more as int8 rows with a scale each.

    Of a tensor that an ingredient has too, only the change is kept: small numbers, which int8 rows hold well.
    """
    known = ingredients_ or {}
    packed: dict[str, torch.Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(_FROZEN):
            continue
        kept = f"{_CHANGE}{name}" if name in known else name
        value = tensor - known[name] if name in known else tensor
        if not value.is_floating_point():
            packed[kept] = value.contiguous()
        elif value.ndim == 2 and value.numel() >= _LARGE:
            scale = value.abs().amax(1, keepdim=True).clamp(min=_INT8 * 1e-6) / _INT8
            packed[kept] = (value / scale).round().clamp(-_INT8, _INT8).to(torch.int8)
            packed[kept + _SCALE] = scale
        else:
            packed[kept] = value.half().contiguous()
    return packed


def unpack(
    packed: Mapping[str, torch.Tensor], ingredients_: Mapping[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """The float32 tensors of a packed or a plain state; changes need the ingredients that they were taken from."""
    state: dict[str, torch.Tensor] = {}
    for name, tensor in packed.items():
        if name.endswith(_SCALE) and name.removesuffix(_SCALE) in packed:
            continue
        scale = packed.get(name + _SCALE)
        wide = tensor if scale is None and not tensor.is_floating_point() else tensor.float()
        value = wide if scale is None else wide * scale
        changed = name.removeprefix(_CHANGE)
        state[changed] = value if changed == name else value + (ingredients_ or {})[changed]
    return state


def load_whole(path: Path) -> dict[str, torch.Tensor]:
    """A state with what it lacks added from the ingredients.

    Raises:
        ModelError: an ingredient is missing or another one.
    """
    packed = load_file(path)
    if any(name.startswith(_FROZEN) for name in packed):
        return unpack(packed)
    known = ingredient_state()
    return {**known, **unpack(packed, known)}


def ingredient_state() -> dict[str, torch.Tensor]:
    """The trunk and the classifier as they were pretrained, under the network's names.

    Raises:
        ModelError: an ingredient is missing or another one.
    """
    from operators.model.fused.efficientnet import classifier_state

    text = load_file(ingredients.TEXT.verified())
    state = {
        f"trunk.{name}": tensor
        for name, tensor in text.items()
        if not name.startswith("pooler.") and not name.endswith("position_ids")
    }
    for name, tensor in classifier_state(ingredients.CLASSIFIER.verified()).items():
        state[f"vision.concepts.classifier.{name}"] = tensor
    return state
