"""transformers' own Whisper with the weights of the speech ingredient, to be measured beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

from operators.model.composed.ingredients import SPEECH
from operators.model.fused.whisper_weights import State, Variables, read_ctranslate2

_TINY = WhisperConfig(
    vocab_size=51_864,
    d_model=384,
    encoder_layers=4,
    encoder_attention_heads=6,
    encoder_ffn_dim=1536,
    decoder_layers=4,
    decoder_attention_heads=6,
    decoder_ffn_dim=1536,
    num_mel_bins=80,
)
_ENCODER = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "self_attn.out_proj": "self_attention/linear_1",
    "final_layer_norm": "ffn/layer_norm",
    "fc1": "ffn/linear_0",
    "fc2": "ffn/linear_1",
}
_DECODER = {
    **_ENCODER,
    "encoder_attn_layer_norm": "attention/layer_norm",
    "encoder_attn.q_proj": "attention/linear_0",
    "encoder_attn.out_proj": "attention/linear_2",
}


def stock_whisper() -> Any:
    """As its library builds and decodes it."""
    found = read_ctranslate2(SPEECH.verified())
    model: Any = WhisperForConditionalGeneration(_TINY)
    model.model.encoder.load_state_dict(_encoder_state(found))
    model.model.decoder.load_state_dict(_decoder_state(found))
    kinds: Any = GenerationConfig
    model.generation_config = kinds(
        decoder_start_token_id=50_257, eos_token_id=50_256, pad_token_id=50_256, no_timestamps_token_id=50_362,
        is_multilingual=False, max_length=224,
    )  # fmt: skip
    return model.eval()


def _encoder_state(found: Variables) -> State:
    """Float32 weights under the names of transformers' `WhisperEncoder`."""
    state = _named(found, "encoder", {"conv1": "conv1", "conv2": "conv2", "layer_norm": "layer_norm"})
    state["embed_positions.weight"] = _tensor(found, "encoder/position_encodings/encodings")
    return state | _layers(found, "encoder", _ENCODER)


def _decoder_state(found: Variables) -> State:
    """Float32 weights under the names of transformers' `WhisperDecoder`."""
    state = _named(found, "decoder", {"layer_norm": "layer_norm"})
    state["embed_tokens.weight"] = _tensor(found, "decoder/embeddings/weight")
    state["embed_positions.weight"] = _tensor(found, "decoder/position_encodings/encodings")
    return state | _layers(found, "decoder", _DECODER)


def _layers(found: Variables, side: str, names: dict[str, str]) -> State:
    state: State = {}
    for layer in range(4):
        source = f"{side}/layer_{layer}"
        parts = _named(found, source, names) | _split(found, f"{source}/self_attention/linear_0", "self_attn")
        if side == "decoder":
            parts |= _split(found, f"{source}/attention/linear_1", "encoder_attn")
        state |= {f"layers.{layer}.{name}": tensor for name, tensor in parts.items()}
    return state


def _named(found: Variables, source: str, names: dict[str, str]) -> State:
    state: State = {}
    for ours, theirs in names.items():
        norm = "norm" in ours
        state[f"{ours}.weight"] = _tensor(found, f"{source}/{theirs}/{'gamma' if norm else 'weight'}")
        state[f"{ours}.bias"] = _tensor(found, f"{source}/{theirs}/{'beta' if norm else 'bias'}")
    return state


def _split(found: Variables, source: str, ours: str) -> State:
    """Projections that CTranslate2 keeps as one matrix: query, key, value, or key and value; a key has no bias."""
    weight, bias = _tensor(found, f"{source}/weight"), _tensor(found, f"{source}/bias")
    letters = "qkv"[-(len(weight) // weight.shape[1]) :]
    state: State = {}
    for letter, w, b in zip(letters, weight.chunk(len(letters)), bias.chunk(len(letters)), strict=True):
        state[f"{ours}.{letter}_proj.weight"] = w
        if letter != "k":
            state[f"{ours}.{letter}_proj.bias"] = b
    return state


def _tensor(found: Variables, name: str) -> torch.Tensor:
    return torch.from_numpy(found[name].astype(np.float32))
