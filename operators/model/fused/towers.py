"""The hearing tower: Whisper tiny.en over a sound's true length; what comes out are its states, not a transcript."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from transformers import DynamicCache, EncoderDecoderCache, WhisperFeatureExtractor
from transformers.models.whisper.modeling_whisper import WhisperDecoder, WhisperEncoder

from operators.model.batching import micro_batches
from operators.model.device import packs
from operators.model.fused.speaking import NAME, Packed, pack_layers
from operators.model.fused.whisper import TINY, decoder_state, encoder_state, read_ctranslate2

RATE = 16_000
WINDOW_S = 30
"""Seconds that Whisper hears at once: a longer sound is heard in windows, one after the other."""
WIDTH = 384
CANDIDATES = 8
"""Tokens kept of each step's belief."""
FEATURES = WIDTH + 2 * CANDIDATES
POOLED = 2
"""Rows that stand for a sound without words."""
_FFT, _HOP = 400, 160
_SILENCE_S = 1
_SECONDS_AT_ONCE = 120
_SILENCE_RMS = 33.0
"""Of int16 samples: -60 dB below full scale."""
_END, _START, _NO_SPEECH, _NO_TIMES = 50_256, 50_257, 50_361, 50_362
_DOUBT, _LOW_LOGPROB = 0.6, -1.0
"""Whisper's own thresholds: probability that nobody speaks, and that of an unsure transcript."""
_TOKENS_PER_S, _LEAST_TOKENS = 8, 16
"""Nobody speaks faster: more would be made up."""
_LOOP = 4
"""So many tokens said once more are the loop that Whisper falls into when a sound is over."""

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
        self.encoder: Any = WhisperEncoder(TINY)
        self.encoder.load_state_dict(encoder_state(found))
        self.decoder: Any = WhisperDecoder(deepcopy(TINY))
        self.decoder.load_state_dict(decoder_state(found))
        self.decoder.set_attn_implementation(NAME)
        self._scores: Packed | None = None
        # Column by column in memory: every step multiplies by the transpose, which is then read in order.
        words = self.decoder.embed_tokens.weight
        words.data = words.data.T.contiguous().T
        extractor: Any = WhisperFeatureExtractor(feature_size=80)  # type: ignore[no-untyped-call]
        mel = torch.from_numpy(np.asarray(extractor.mel_filters.T, np.float32)).contiguous()
        self.register_buffer("mel", mel, persistent=False)
        self.register_buffer("window", torch.hann_window(_FFT), persistent=False)
        self.requires_grad_(False).eval()

    def pack(self) -> None:
        """Pack the decoder for the CPU that it is on and stays on; elsewhere nothing changes."""
        words = self.decoder.embed_tokens.weight
        if packs(words.device, words.dtype):
            pack_layers(self.decoder)
            self._scores = Packed(words.data)
            # Their file has float16: what is looked up stays as it is.
            words.data = words.data.half().contiguous()

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
        for length in set(seconds):
            alike = [i for i, own in enumerate(seconds) if own == length]
            for i, found in zip(alike, self.states([sounds[i] for i in alike], length), strict=True):
                states[i] = found
        spoken = self._speak(states, seconds)
        rows = []
        for sound, state, words in zip(sounds, states, spoken, strict=True):
            steps = max(1, -(-len(sound) // (2 * _HOP)))
            loud = (
                len(sound) > 0 and float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) > _SILENCE_RMS
            )
            rows.append(words if len(words) and loud else _pool(state[:steps]))
        return rows

    def states(self, sounds: Sequence[Sound], seconds: int) -> torch.Tensor:
        """The encoder's states of sounds with silence up to so many seconds: `[sounds, 50 * seconds, 384]`."""
        hidden = nn.functional.gelu(self.encoder.conv1(self._log_mel(sounds, seconds)))
        hidden = nn.functional.gelu(self.encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + self.encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in self.encoder.layers:
            hidden = layer(hidden, None)
        normed: torch.Tensor = self.encoder.layer_norm(hidden)
        return normed

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

    def _speak(self, each: Sequence[torch.Tensor], seconds: Sequence[int]) -> list[torch.Tensor]:
        """Rows `[words, FEATURES]` of the decoder's likeliest path; none where nobody speaks."""
        states = nn.utils.rnn.pad_sequence(list(each), batch_first=True)
        count, device = len(states), states.device
        lengths = [len(own) for own in each]
        heard: torch.Tensor | None = None
        if min(lengths) < max(lengths):
            ends = torch.tensor(lengths, device=device)
            heard = (torch.arange(max(lengths), device=device) < ends[:, None])[:, None, None]
        most = torch.tensor([_LEAST_TOKENS + _TOKENS_PER_S * own for own in seconds], device=device)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        tokens = torch.tensor([[_START, _NO_TIMES]], device=device).expand(count, 2)
        going = torch.ones(count, dtype=torch.bool, device=device)
        doubt = total = torch.zeros(count, device=device)
        path: list[torch.Tensor] = []
        rows: list[torch.Tensor] = []
        alive: list[torch.Tensor] = []
        for step in range(int(most.max())):
            out = self.decoder(
                input_ids=tokens,
                encoder_hidden_states=states,
                past_key_values=cache,
                use_cache=True,
                heard=heard,
            ).last_hidden_state
            if step == 0:
                doubt = self._belief(out[:, 0])[:, _NO_SPEECH]
            belief = self._belief(out[:, -1])[:, : _END + 1]
            likely, numbers = belief.topk(CANDIDATES, dim=1)
            path.append(numbers[:, 0])
            looping = _looping(path)
            for before in alive[1 - _LOOP :] if bool(looping.any()) else ():
                before &= ~looping
            going = going & (path[-1] != _END) & ~looping & (step < most)
            if not bool(going.any()):
                break
            alive.append(going)
            total = total + likely[:, 0].log() * going
            rows.append(torch.cat([out[:, -1].float(), numbers.float(), likely], 1))
            tokens = path[-1][:, None]
        if not rows:
            return [states.new_zeros(0, FEATURES)] * count
        kept = torch.stack(alive, 1)
        unsure = (doubt > _DOUBT) & (total / kept.sum(1).clamp(min=1) < _LOW_LOGPROB)
        kept = kept & ~unsure[:, None]
        return [row[mask] for row, mask in zip(torch.stack(rows, 1), kept, strict=True)]

    def _belief(self, states: torch.Tensor) -> torch.Tensor:
        """Probabilities of Whisper's tokens: `[sounds, tokens]`."""
        packed = self._scores
        logits: torch.Tensor = packed(states) if packed else states @ self.decoder.embed_tokens.weight.T
        return logits.float().softmax(1)


def _looping(path: Sequence[torch.Tensor]) -> torch.Tensor:
    """Which sounds' last tokens were said before in this order: bool `[sounds]`."""
    said = torch.stack(list(path), 1)
    if said.shape[1] <= _LOOP:
        return torch.zeros_like(path[0], dtype=torch.bool)
    runs = said.unfold(1, _LOOP, 1)
    return (runs[:, :-1] == runs[:, -1:]).all(2).any(1)


def _pool(states: torch.Tensor) -> torch.Tensor:
    """Encoder states `[steps, 384]` averaged over equal stretches: `[POOLED, FEATURES]`."""
    means = nn.functional.adaptive_avg_pool1d(states.T, POOLED).T
    return nn.functional.pad(means.float(), (0, 2 * CANDIDATES))


def _without_pauses(rows: torch.Tensor) -> torch.Tensor:
    """Rows of windows in which nobody speaks say nothing beside windows in which somebody does."""
    spoken = rows[:, -CANDIDATES:].sum(1) > 0
    return rows[spoken] if bool(spoken.any()) else rows
