"""Whisper's weights, read from a CTranslate2 file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from operators.model.fused.whisper_encoder import LAYERS
from schemas.errors import ModelError

_BINARY = 6
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
_ENDS = {"weight": ("weight", "gamma"), "bias": ("bias", "beta")}
"""CTranslate2's names of what a module holds: of a norm the second."""
_LAYER = {
    "feed_forward.norm": "ffn/layer_norm",
    "feed_forward.up": "ffn/linear_0",
    "feed_forward.down": "ffn/linear_1",
}
_ENCODER = {
    **_LAYER,
    "norm": "self_attention/layer_norm",
    "qkv": "self_attention/linear_0",
    "out": "self_attention/linear_1",
}
_DECODER = {
    **_LAYER,
    "self_attention.norm": _ENCODER["norm"],
    "self_attention.project": _ENCODER["qkv"],
    "self_attention.out": _ENCODER["out"],
    "cross_attention.norm": "attention/layer_norm",
    "cross_attention.project": "attention/linear_0",
    "cross_attention.out": "attention/linear_2",
    "key_values": "attention/linear_1",
}
Variables = dict[str, npt.NDArray[Any]]
State = dict[str, torch.Tensor]


def read_ctranslate2(path: Path) -> Variables:
    """The variables of a CTranslate2 `model.bin` by name (binary version 6: counts and lengths little-endian).

    Raises:
        ModelError: the file is of another version or is none.
    """
    content = path.read_bytes()
    at = 0

    def number(kind: str) -> int:
        nonlocal at
        (value,) = struct.unpack_from(kind, content, at)
        at += struct.calcsize(kind)
        return int(value)

    def name() -> str:
        nonlocal at
        size = number("<H")
        at += size
        return content[at - size : at - 1].decode()

    try:
        version, _, _ = number("<I"), name(), number("<I")
        if version != _BINARY:
            raise ModelError(f"'{path}' is a CTranslate2 file of version {version}, {_BINARY} is read")
        variables = {}
        for _ in range(number("<I")):
            key = name()
            shape = [number("<I") for _ in range(number("<B"))]
            kind, size = _TYPES[number("<B")], number("<I")
            flat = np.frombuffer(content, kind, size // np.dtype(kind).itemsize, at)
            variables[key] = flat.reshape(shape)
            at += size
    except (struct.error, ValueError, IndexError) as error:
        raise ModelError(f"'{path}' is not a CTranslate2 file: {error}") from error
    return variables


def encoder_state(found: Variables) -> State:
    """Float32 weights under the names of `Encoder`."""
    names = {"conv1": "conv1", "conv2": "conv2", "norm": "layer_norm"}
    return _state(found, "encoder", names, _ENCODER)


def decoder_state(found: Variables) -> State:
    """Float32 weights under the names of `Decoder`."""
    state = _state(found, "decoder", {"norm": "layer_norm"}, _DECODER)
    return state | {"words.weight": _tensor(found["decoder/embeddings/weight"])}


def _state(found: Variables, side: str, names: dict[str, str], of_a_layer: dict[str, str]) -> State:
    sources = {ours: f"{side}/{theirs}" for ours, theirs in names.items()}
    for layer in range(LAYERS):
        sources |= {f"layers.{layer}.{o}": f"{side}/layer_{layer}/{t}" for o, t in of_a_layer.items()}
    state = {
        f"{module}.{held}": _tensor(found[f"{source}/{end}"])
        for module, source in sources.items()
        for held, ends in _ENDS.items()
        for end in ends
        if f"{source}/{end}" in found
    }
    return state | {"positions.weight": _tensor(found[f"{side}/position_encodings/encodings"])}


def _tensor(variable: npt.NDArray[Any]) -> torch.Tensor:
    return torch.from_numpy(variable.astype(np.float32))
