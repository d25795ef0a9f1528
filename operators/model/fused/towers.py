"""The hearing tower: Whisper tiny.en's encoder, read from a CTranslate2 file and run on a sound's true length."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import WhisperConfig, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from schemas.errors import ModelError

RATE = 16_000
HOP = 160
WINDOW = 30 * RATE
"""Samples that Whisper hears at once: a longer sound is heard in windows, one after the other."""
STEP = 2 * HOP
"""Samples of one encoder step: 50 steps a second."""
_FFT = 400
_STEPS_AT_ONCE = 3_000
_TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
_PARTS = (
    ("conv1", "conv1"),
    ("conv2", "conv2"),
    ("layer_norm", "layer_norm"),
    *(
        (f"layers.{layer}.{ours}", f"layer_{layer}/{theirs}")
        for layer in range(4)
        for ours, theirs in (
            ("self_attn_layer_norm", "self_attention/layer_norm"),
            ("self_attn.out_proj", "self_attention/linear_1"),
            ("final_layer_norm", "ffn/layer_norm"),
            ("fc1", "ffn/linear_0"),
            ("fc2", "ffn/linear_1"),
        )
    ),
)


def read_ctranslate2(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The variables of a CTranslate2 `model.bin` by name (binary version 6: counts and lengths little-endian).

    Raises:
        ModelError: the file is of another version or ends too soon.
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
        if version != 6:
            raise ModelError(f"'{path}' is a CTranslate2 file of version {version}, 6 is read")
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


def encoder_state(path: Path) -> dict[str, torch.Tensor]:
    """The encoder's float32 weights under the names of transformers' `WhisperEncoder`.

    CTranslate2 keeps query, key and value as one matrix; the key has no bias in Whisper.
    """
    found = read_ctranslate2(path)

    def tensor(name: str) -> torch.Tensor:
        return torch.from_numpy(found[f"encoder/{name}"].astype(np.float32))

    state = {"embed_positions.weight": tensor("position_encodings/encodings")}
    for ours, theirs in _PARTS:
        norm = "norm" in ours
        state[f"{ours}.weight"] = tensor(f"{theirs}/{'gamma' if norm else 'weight'}")
        state[f"{ours}.bias"] = tensor(f"{theirs}/{'beta' if norm else 'bias'}")
    for layer in range(4):
        fused = f"layer_{layer}/self_attention/linear_0"
        weights, biases = tensor(f"{fused}/weight").chunk(3), tensor(f"{fused}/bias").chunk(3)
        for part, weight, bias in zip("qkv", weights, biases, strict=True):
            state[f"layers.{layer}.self_attn.{part}_proj.weight"] = weight
            if part != "k":
                state[f"layers.{layer}.self_attn.{part}_proj.bias"] = bias
    return state


class AudioTower(nn.Module):
    """Sound to encoder features at 50 Hz; frozen, its batches padded and masked."""

    mel: torch.Tensor
    window: torch.Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        config = WhisperConfig(
            d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536, num_mel_bins=80
        )
        self.encoder: Any = WhisperEncoder(config)
        self.encoder.load_state_dict(encoder_state(weights))
        extractor: Any = WhisperFeatureExtractor(feature_size=80)  # type: ignore[no-untyped-call]
        mel = torch.from_numpy(np.asarray(extractor.mel_filters.T, np.float32)).contiguous()
        self.register_buffer("mel", mel, persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.requires_grad_(False).eval()

    def encode(self, sounds: Sequence[npt.NDArray[np.int16]]) -> list[torch.Tensor]:
        """Features float32 `[ceil(samples / 320), 384]` of each sound (int16, mono, 16 kHz), on the tower's device.

        A sound of no samples has one step, that of silence.
        """
        windows = [
            (i, sound[start : start + WINDOW])
            for i, sound in enumerate(sounds)
            for start in range(0, max(1, len(sound)), WINDOW)
        ]
        order = sorted(range(len(windows)), key=lambda w: -len(windows[w][1]))
        encoded: dict[int, torch.Tensor] = {}
        while order:
            rows = max(1, _STEPS_AT_ONCE // (len(windows[order[0]][1]) // STEP + 1))
            batch, order = order[:rows], order[rows:]
            encoded.update(zip(batch, self._forward([windows[w][1] for w in batch]), strict=True))
        parts: list[list[torch.Tensor]] = [[] for _ in sounds]
        for w, (i, _) in enumerate(windows):
            parts[i].append(encoded[w])
        return [torch.cat(part) for part in parts]

    @torch.inference_mode()
    def _forward(self, sounds: Sequence[npt.NDArray[np.int16]]) -> list[torch.Tensor]:
        lengths = torch.tensor([max(1, len(s)) for s in sounds], device=self.mel.device)
        frames = -(-lengths // HOP)
        steps = -(-frames // 2)
        within = torch.arange(int(frames.max()), device=frames.device) < frames[:, None]
        heard = torch.arange(int(steps.max()), device=steps.device) < steps[:, None]
        mel = self._log_mel(sounds, within.shape[1]) * within[:, None]
        # Zeros past a sound's end, as the convolutions see them past a batch's end.
        hidden = nn.functional.gelu(self.encoder.conv1(mel)) * within[:, None]
        hidden = nn.functional.gelu(self.encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.encoder.embed_positions.weight[: hidden.shape[1]]
        mask = None if bool(heard.all()) else heard[:, None, None, :]
        for layer in self.encoder.layers:
            hidden = layer(hidden, mask)
        hidden = self.encoder.layer_norm(hidden)
        return [row[:count] for row, count in zip(hidden, steps.tolist(), strict=True)]

    def _log_mel(self, sounds: Sequence[npt.NDArray[np.int16]], frames: int) -> torch.Tensor:
        """Whisper's log-mel `[sounds, 80, frames]`; what follows a sound is silence."""
        samples = np.zeros((len(sounds), frames * HOP + _FFT), np.int16)
        for row, sound in zip(samples, sounds, strict=True):
            row[: len(sound)] = sound
        waves = torch.from_numpy(samples).to(self.mel.device).float() / 32_768
        spectrum = torch.stft(waves, _FFT, HOP, window=self.window, return_complex=True)[..., :frames]
        power = (spectrum.real.square() + spectrum.imag.square()).contiguous()
        log = (self.mel @ power).clamp(min=1e-10).log10()
        return (torch.maximum(log, log.amax((1, 2), keepdim=True) - 8) + 4) / 4
