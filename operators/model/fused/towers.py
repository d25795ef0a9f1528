"""The hearing tower: Whisper tiny.en over a sound's true length; what comes out are its states, not a transcript."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from operators.model.batching import micro_batches
from operators.model.device import packs
from operators.model.fused.greedy import CANDIDATES, greedy_paths
from operators.model.fused.whisper_decoder import Decoder
from operators.model.fused.whisper_encoder import MELS, Encoder
from operators.model.fused.whisper_weights import decoder_state, encoder_state, read_ctranslate2
from operators.model.onednn import pack_layers
from operators.model.unfilled import Unfilled

RATE = 16_000
WINDOW_S = 30
"""Seconds that Whisper hears at once: a longer sound is heard in windows, one after the other."""
POOLED = 2
"""Rows that stand for a sound without words."""
_FFT, _HOP = 400, 160
_SILENCE_S = 1
_SECONDS_AT_ONCE = 240
_SECONDS_ENCODED = 44
"""By a CPU: the states between its layers then stay near its cache, and 16 sounds take a third of the memory."""
_SILENCE_RMS = 33.0
"""Of int16 samples: -60 dB below full scale."""
Sound = npt.NDArray[np.int16]


class AudioTower(nn.Module):
    """Sound to rows of features; frozen.

    The encoder hears a sound with silence after it, up to whole seconds, and sounds of equally many seconds are a
    batch: no padding is masked, and a sound's features do not depend on its batch. The decoder then takes the likeliest
    path of all of them at once, each seeing its own states, and each step of it gives a row.
    """

    mel: torch.Tensor
    window: torch.Tensor

    def __init__(self, weights: Path) -> None:
        super().__init__()
        found = read_ctranslate2(weights)
        with Unfilled():
            self.encoder, self.decoder = Encoder(), Decoder()
        self.encoder.load_state_dict(encoder_state(found), assign=True)
        self.decoder.load_state_dict(decoder_state(found), assign=True)
        mel = torch.from_numpy(mel_filters())
        self.register_buffer("mel", mel, persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.requires_grad_(False).eval()

    def pack(self) -> None:
        """Pack it for the CPU that it is on and stays on; elsewhere nothing changes."""
        if packs(self.mel.device, torch.float32):
            pack_layers(self.encoder, torch.float32)
            self.decoder.pack()

    def encode(self, sounds: Sequence[Sound]) -> list[torch.Tensor]:
        """Features of sounds (int16, mono, 16 kHz, any length), on the tower's device.

        Returns:
            For each sound float32 `[rows, FEATURES]`. A row is a decoder state `[384]`, the numbers of Whisper's 8
            likeliest tokens there, and their probabilities. Where nobody speaks there are 2 rows for each window of
            30 s, encoder states averaged over a half, with probabilities of 0.
        """
        size = WINDOW_S * RATE
        windows = [(i, s[a : a + size]) for i, s in enumerate(sounds) for a in range(0, max(1, len(s)), size)]
        seconds = [min(WINDOW_S, -(-len(window) // RATE) + _SILENCE_S) for _, window in windows]
        rows: dict[int, torch.Tensor] = {}
        for batch in micro_batches(seconds, _SECONDS_AT_ONCE):
            heard = self._hear([windows[n][1] for n in batch], [seconds[n] for n in batch])
            rows.update(zip(batch, heard, strict=True))
        parts: list[list[torch.Tensor]] = [[] for _ in sounds]
        for number, (i, _) in enumerate(windows):
            parts[i].append(rows[number])
        return [_without_pauses(torch.cat(part)) for part in parts]

    @torch.inference_mode()
    def _hear(self, sounds: Sequence[Sound], seconds: Sequence[int]) -> list[torch.Tensor]:
        states: list[torch.Tensor] = [torch.empty(0)] * len(sounds)
        at_once = _SECONDS_ENCODED if self.mel.device.type == "cpu" else _SECONDS_AT_ONCE
        for alike in micro_batches(seconds, at_once, waste=0):
            heard = self.states([sounds[i] for i in alike], seconds[alike[0]])
            for i, found in zip(alike, heard, strict=True):
                states[i] = found
        spoken = greedy_paths(self.decoder, states, seconds)
        rows = []
        for sound, state, words in zip(sounds, states, spoken, strict=True):
            steps = max(1, -(-len(sound) // (2 * _HOP)))
            loud = (
                len(sound) > 0 and float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) > _SILENCE_RMS
            )
            rows.append(words if len(words) and loud else _pool(state[:steps]))
        return rows

    def states(self, sounds: Sequence[Sound], seconds: int) -> torch.Tensor:
        """The encoder's states of sounds with silence up to so many seconds: `[sounds, 50 * seconds, WIDTH]`."""
        found: torch.Tensor = self.encoder(self._log_mel(sounds, seconds))
        return found

    def _log_mel(self, sounds: Sequence[Sound], seconds: int) -> torch.Tensor:
        """Whisper's log-mel `[sounds, 80, 100 * seconds]`."""
        samples = np.zeros((len(sounds), seconds * RATE), np.int16)
        for row, sound in zip(samples, sounds, strict=True):
            row[: len(sound)] = sound
        waves = torch.from_numpy(samples).to(self.mel.device).float() / 32_768
        spectrum = torch.stft(waves, _FFT, _HOP, window=self.window, return_complex=True)[..., :-1]
        power = (spectrum.real.square() + spectrum.imag.square()).contiguous()
        log = (self.mel @ power).clamp(min=1e-10).log10()
        return (torch.maximum(log, log.amax((1, 2), keepdim=True) - 8) + 4) / 4


def mel_filters() -> npt.NDArray[np.float32]:
    """Slaney's triangular filters, equally far apart on his mel scale and of equal area: `[MELS, _FFT / 2 + 1]`.

    Source: Slaney, Auditory Toolbox (1998): linear to 1 kHz at 3 mels each 200 Hz, above it 27 mels each factor 6.4.
    """
    log_from, log_step = 15.0, np.log(6.4) / 27
    top = log_from + np.log(RATE / 2 / 1_000) / log_step
    mels = np.linspace(0, top, MELS + 2)
    edges = np.where(mels < log_from, mels * 200 / 3, 1_000 * np.exp((mels - log_from) * log_step))
    tones = np.linspace(0, RATE / 2, _FFT // 2 + 1)
    rising = (tones - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - tones) / (edges[2:] - edges[1:-1])[:, None]
    area = 2 / (edges[2:] - edges[:-2])
    filters = np.maximum(0, np.minimum(rising, falling)) * area[:, None]
    return np.asarray(filters, np.float32)


def _pool(states: torch.Tensor) -> torch.Tensor:
    """Encoder states `[steps, 384]` averaged over equal stretches: `[POOLED, FEATURES]`."""
    means = nn.functional.adaptive_avg_pool1d(states.T, POOLED).T
    return nn.functional.pad(means.float(), (0, 2 * CANDIDATES))


def _without_pauses(rows: torch.Tensor) -> torch.Tensor:
    """Rows of windows in which nobody speaks say nothing beside windows in which somebody does."""
    spoken = rows[:, -CANDIDATES:].sum(1) > 0
    return rows[spoken] if bool(spoken.any()) else rows
