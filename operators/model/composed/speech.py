"""The speech tower: Whisper tiny.en through CTranslate2, with guards against what Whisper makes up."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer
from transformers import WhisperFeatureExtractor

RATE = 16_000
WINDOW_S = 30
"""Seconds that Whisper hears at once."""
_BATCH = 8
_CALLS_AT_ONCE = 4
"""On a CPU; more wait. The weights are in memory once."""
_SILENCE_RMS = 33.0
"""Of int16 samples: -60 dB below full scale."""
_NO_SPEECH, _LOW_LOGPROB, _LOOP_RATIO = 0.6, -1.0, 2.4
"""Whisper's own thresholds: no speech, an unsure transcript, text that compresses like a loop."""
_TOKENS_PER_S, _LEAST_TOKENS = 8, 16
"""Nobody speaks faster: a longer transcript is made up."""


class SpeechTower:
    """Sound to English text; empty where nobody speaks."""

    def __init__(self, weights: Path, tokenizer: Path, device: str, threads: int) -> None:
        kind = "int8" if device == "cpu" else "default"
        self._model = ctranslate2.models.Whisper(
            str(weights.parent),
            device=device,
            compute_type=kind,
            intra_threads=threads,
            inter_threads=_CALLS_AT_ONCE if device == "cpu" else 1,
        )
        self._tokenizer: Tokenizer = Tokenizer.from_file(str(tokenizer))
        self._prompt = [self._tokenizer.token_to_id(t) for t in ("<|startoftranscript|>", "<|notimestamps|>")]
        self._features: Any = WhisperFeatureExtractor(feature_size=80)  # type: ignore[no-untyped-call]

    def transcribe(self, sounds: Sequence[npt.NDArray[np.int16]]) -> list[str]:
        """The words of each sound (int16, mono, 16 kHz, any length): `""` where there are none."""
        size = WINDOW_S * RATE
        cut = [(i, s[a : a + size]) for i, s in enumerate(sounds) for a in range(0, len(s), size)]
        loud = [(i, s) for i, s in cut if np.sqrt(np.mean(np.square(s, dtype=np.float64))) > _SILENCE_RMS]
        loud.sort(key=lambda item: -len(item[1]))
        said: list[list[tuple[int, str]]] = [[] for _ in sounds]
        for start in range(0, len(loud), _BATCH):
            batch = loud[start : start + _BATCH]
            for (i, s), words in zip(batch, self._decode([s for _, s in batch]), strict=True):
                said[i].append((len(s), words))
        return [" ".join(words for _, words in windows if words) for windows in said]

    def _decode(self, sounds: list[npt.NDArray[np.int16]], no_repeat: int = 0) -> list[str]:
        limits = [_LEAST_TOKENS + _TOKENS_PER_S * len(s) // RATE for s in sounds]
        results = self._model.generate(
            ctranslate2.StorageView.from_array(self._mel(sounds)),
            [self._prompt] * len(sounds),
            beam_size=1,
            max_length=min(max(limits) + len(self._prompt), 224),
            no_repeat_ngram_size=no_repeat,
            return_scores=True,
            return_no_speech_prob=True,
        )
        texts = []
        for sound, limit, result in zip(sounds, limits, results, strict=True):
            ids = result.sequences_ids[0]
            text = self._tokenizer.decode(ids[:limit], skip_special_tokens=True).strip()
            if result.no_speech_prob > _NO_SPEECH and result.scores[0] < _LOW_LOGPROB:
                text = ""
            elif not no_repeat and _loops(text):
                text = self._decode([sound], no_repeat=3)[0]
            texts.append(text)
        return texts

    def _mel(self, sounds: list[npt.NDArray[np.int16]]) -> npt.NDArray[np.float32]:
        waves = [s.astype(np.float32) / 32_768 for s in sounds]
        mel = self._features(waves, sampling_rate=RATE, return_tensors="np")["input_features"]
        return np.ascontiguousarray(mel, np.float32)


def _loops(text: str) -> bool:
    data = text.encode()
    return len(data) > 0 and len(data) / len(zlib.compress(data)) > _LOOP_RATIO
