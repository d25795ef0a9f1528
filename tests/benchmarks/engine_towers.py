"""How fast each tower's matrix products run, against the rate of a large product on the same device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from operators.model.gemma_engine import GemmaEngine
from operators.parts import Part, PartKind

Timed = Callable[[Callable[[], Any]], float]
_SIDES = {"cuda": 8_192, "cpu": 1_024}
_REPEATS = 5


@dataclass(frozen=True, slots=True)
class TowerRate:
    """Multiplications and additions of a tower's linear layers, convolutions and attention, and its seconds."""

    name: str
    flops: float
    seconds: float


def matmul_rate(device: torch.device, dtype: torch.dtype, timed: Timed) -> float:
    """Operations a second of a square matrix product: the best of a few."""
    side = _SIDES.get(device.type, _SIDES["cpu"])
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    timed(lambda: left @ right)
    return 2 * side**3 / min(timed(lambda: left @ right) for _ in range(_REPEATS))


def tower_rates(engine: GemmaEngine, inputs: Sequence[tuple[Part, ...]], timed: Timed) -> list[TowerRate]:
    """Each tower over its share of the inputs, the second time that it sees them."""
    media = [part for parts in inputs for part in parts[1:]]
    pictures = [part.array for part in media if part.kind is not PartKind.AUDIO]
    sounds = [part.array for part in media if part.kind is PartKind.AUDIO]
    sequences = [(Part(PartKind.TOKENS, data=_words(parts[0].array)),) for parts in inputs]
    found = []
    with torch.inference_mode():
        if engine.vision and pictures:
            lengths = [picture.shape[0] * picture.shape[1] // 256 for picture in pictures]
            seen = engine.model.vision_tower
            found.append(_rate("vision", seen, lambda: engine.vision(pictures), lengths, timed))
        if engine.hearing and sounds:
            found.append(_rate("audio", engine.model.audio_tower, lambda: engine.hearing(sounds), [], timed))
    lengths = [len(parts[0].array) for parts in sequences]
    found.append(_rate("text", engine.text, lambda: engine.embed(sequences), lengths, timed))
    return found


def _words(ids: Any) -> Any:
    # Slots without media would be left empty: any word costs the text model the same.
    return np.full_like(ids, 5)


def _rate(name: str, tower: Any, call: Callable[[], Any], lengths: list[int], timed: Timed) -> TowerRate:
    counted = [0.0]

    def count(module: nn.Module, _: Any, out: torch.Tensor) -> None:
        counted[0] += 2 * out.numel() * module.weight[0].numel()  # type: ignore[union-attr, index]

    layers = [m for m in tower.modules() if isinstance(m, nn.Linear | nn.Conv1d | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    call()
    for hook in hooks:
        hook.remove()
    flops = counted[0] + sum(_attention(tower, length) for length in lengths)
    return TowerRate(name, flops, timed(call))


def _attention(tower: Any, length: int) -> float:
    """Of one sequence: scores and weighted sums of every layer, sliding ones within their reach."""
    total = 0.0
    for layer in (tower.encoder if hasattr(tower, "encoder") else tower).layers:
        attention = layer.self_attn
        reach = getattr(attention, "sliding_window", None)
        keys = length if reach is None else min(length, 2 * reach - 1)
        total += 4.0 * length * keys * tower.config.num_attention_heads * attention.head_dim
    return total
