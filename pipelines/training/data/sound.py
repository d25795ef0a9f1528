"""Spoken data for the hearing adapter: sounds made worse and more varied, and the tower's features on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from pipelines.training.data.speech import RATE, read_shard

Sound = npt.NDArray[np.int16]
Encode = Callable[[Sequence[Sound]], Sequence[npt.NDArray[np.float32]]]
NOBODY = "none"
"""The voice of a sound without speech, whose text says what it is."""
_AT_ONCE = 64
_UNSPOKEN = 32
"""One sound without speech is added for so many utterances."""
_SPEED, _EDGE_S = (0.84, 1.2), 0.35
_LEVEL_DB, _SNR_DB = (-36.0, -12.0), (4.0, 30.0)
_FULL_SCALE = 32_767
_NAMES = {"silence": "silence", "noise": "noise", "glide": "a tone", "tune": "music"}


@dataclass(frozen=True, slots=True)
class Heard:
    """The tower's features of one sound float32 `[rows, width]`, what was said, and the voice."""

    features: npt.NDArray[np.float32]
    text: str
    voice: str


def augment(sound: Sound, rng: np.random.Generator) -> Sound:
    """The sound in another place: speed and pitch, tone, band, echo, silence around it, noise and loudness drawn.

    Speed changes by resampling, so that pitch and formants move with it as from one speaker to another.
    """
    edges = rng.uniform(0, _EDGE_S, 2) * RATE
    wave = np.pad(sound.astype(np.float32), (int(edges[0]), int(edges[1])))
    speed = rng.uniform(*_SPEED) if rng.random() < 0.7 else 1.0
    size = fft.next_fast_len(len(wave) + RATE // 8, real=True)
    spectrum = fft.rfft(wave, size)
    spectrum *= _room(size, rng)
    # A longer or a shorter inverse transform of one spectrum is the same sound, slower or faster.
    slower = fft.next_fast_len(round(size / speed), real=True)
    wave = fft.irfft(spectrum[: slower // 2 + 1], slower)[: round(len(wave) * slower / size)]
    if rng.random() < 0.6:
        wave = _at_ratio(wave, colored_noise(len(wave), rng), rng.uniform(*_SNR_DB))
    return at_level(wave, rng.uniform(*_LEVEL_DB))


def _room(size: int, rng: np.random.Generator) -> npt.NDArray[np.complex64]:
    """A transfer function `[size // 2 + 1]`: tone, band and echo, each there or not."""
    hertz = fft.rfftfreq(size, 1 / RATE)
    gain = np.ones(len(hertz), np.float64)
    if rng.random() < 0.6:
        knots = np.geomspace(60, RATE / 2, 6)
        decibels = np.cumsum(rng.normal(0, 3, 6)) + rng.normal(0, 2, 6)
        gain *= 10 ** (np.interp(np.log(hertz + 1), np.log(knots + 1), decibels) / 20)
    if rng.random() < 0.35:
        low, high = rng.uniform(60, 320), rng.uniform(3_000, 7_500)
        gain /= np.sqrt(1 + (low / (hertz + 1)) ** 6) * np.sqrt(1 + (hertz / high) ** 12)
    if rng.random() < 0.4:
        seconds = rng.uniform(0.05, 0.12)
        times = np.arange(RATE // 8) / RATE
        echo = rng.normal(0, 1, len(times)) * np.exp(-times / (seconds / 3))
        echo *= rng.uniform(0.2, 0.9) / np.sqrt(np.sum(echo**2))
        echo[0] += 1.0
        return np.asarray(gain * fft.rfft(echo, size), np.complex64)
    return gain.astype(np.complex64)


def colored_noise(size: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """Noise of a drawn slope, white to brown: `[size]`."""
    length = fft.next_fast_len(size, real=True)
    white = fft.rfft(rng.standard_normal(length, np.float32))
    slope = rng.uniform(0, 1)
    white *= (1 + fft.rfftfreq(length, 1 / RATE)) ** -slope
    return np.asarray(fft.irfft(white, length)[:size], np.float32)


def _at_ratio(wave: npt.NDArray[Any], noise: npt.NDArray[Any], decibels: float) -> npt.NDArray[Any]:
    loudness = np.sqrt(np.mean(wave**2) / max(float(np.mean(noise**2)), 1e-12))
    return np.asarray(wave + noise * loudness * 10 ** (-decibels / 20))


def at_level(wave: npt.NDArray[Any], decibels: float) -> Sound:
    """int16 samples whose root mean square is so far below full scale; what is louder than that is clipped."""
    loudness = float(np.sqrt(np.mean(np.square(wave, dtype=np.float64))))
    scaled = wave * (_FULL_SCALE * 10 ** (decibels / 20) / max(loudness, 1e-9))
    return np.asarray(np.clip(np.rint(scaled), -_FULL_SCALE, _FULL_SCALE), np.int16)


def not_speech(rng: np.random.Generator) -> tuple[Sound, str]:
    """A sound in which nobody speaks, and what it is: silence, noise in bursts, gliding tones, a tune of chords."""
    size = int(rng.uniform(0.6, 4.0) * RATE)
    kind = str(rng.choice(list(_NAMES), p=[0.1, 0.3, 0.25, 0.35]))
    if kind == "silence":
        return at_level(colored_noise(size, rng), rng.uniform(-90, -65)), _NAMES[kind]
    if kind == "noise":
        wave = colored_noise(size, rng) * _bursts(size, rng)
    elif kind == "glide":
        knots = rng.uniform(80, 3_000, rng.integers(2, 6))
        hertz = np.interp(np.arange(size), np.linspace(0, size, len(knots)), knots)
        wave = _tone(hertz, rng) * _bursts(size, rng)
    else:
        wave = _tune(size, rng)
    noisy = _at_ratio(wave, colored_noise(size, rng), rng.uniform(10, 50))
    return at_level(noisy, rng.uniform(*_LEVEL_DB)), _NAMES[kind]


def _tone(hertz: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """Overtones of a moving pitch, each weaker than the one below by a drawn power."""
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    fall = rng.uniform(0.5, 2.5)
    audible = [n for n in range(1, rng.integers(2, 10)) if n * hertz.max() < RATE / 2]
    return np.asarray(np.sum([np.sin(n * phase) / n**fall for n in audible or [1]], axis=0))


def _tune(size: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    """Notes of a scale, one to three at a time, struck and dying away."""
    wave = np.zeros(size)
    note = int(rng.uniform(0.12, 0.6) * RATE)
    root = rng.uniform(110, 440)
    for start in range(0, size, note):
        left = min(size - start, 2 * note)
        fade = np.exp(-np.arange(left) / (note * rng.uniform(0.2, 1.0)))
        for step in rng.choice([0, 2, 4, 5, 7, 9, 11, 12], rng.integers(1, 4)):
            wave[start : start + left] += _tone(np.full(left, root * 2 ** (step / 12)), rng) * fade
    return wave


def _bursts(size: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    knots = rng.uniform(0, 1, rng.integers(2, 24)) ** rng.uniform(0.5, 3)
    return np.asarray(np.interp(np.arange(size), np.linspace(0, size, len(knots)), knots) + 0.01)


def write_features(shards: Sequence[Path], folder: Path, encode: Encode, seed: int = 0) -> None:
    """Encode each shard, augmented by the seed, that is not encoded yet; a shard appears whole or not at all.

    Beside the utterances stand sounds without speech, one for every 32. Written are `NAME.npy` float32
    `[rows of all, width]` and `NAME.json` with where each ends, the texts and the voices.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        record = folder / f"{shard.stem}.json"
        if not record.exists():
            _write_shard(shard, record, encode, np.random.default_rng([seed, int(shard.stem)]))


def _write_shard(shard: Path, record: Path, encode: Encode, rng: np.random.Generator) -> None:
    spoken = [(augment(sound, rng), text, voice) for sound, text, voice in read_shard(shard)]
    spoken += [(*not_speech(rng), NOBODY) for _ in range(len(spoken) // _UNSPOKEN)]
    sounds = [sound for sound, _, _ in spoken]
    parts: list[npt.NDArray[np.float32]] = []
    for start in range(0, len(sounds), _AT_ONCE):
        parts += encode(sounds[start : start + _AT_ONCE])
    partial = record.with_suffix(".partial")
    with partial.open("wb") as file:
        np.save(file, np.concatenate(parts))
    partial.rename(record.with_suffix(".npy"))
    facts = {
        "ends": np.cumsum([len(p) for p in parts]).tolist(),
        "texts": [text for _, text, _ in spoken],
        "voices": [voice for _, _, voice in spoken],
    }
    partial.write_text(json.dumps(facts), encoding="utf-8")
    partial.rename(record)


def read_features(folder: Path, shards: Container[str] | None = None) -> Iterator[Heard]:
    """What was encoded of the named shards, or of all, in their order; it stays on disk until it is looked at."""
    for record in sorted(folder.glob("*.json")):
        if shards is not None and record.stem not in shards:
            continue
        facts = json.loads(record.read_text(encoding="utf-8"))
        steps = np.load(record.with_suffix(".npy"), mmap_mode="r")
        bounds = zip([0, *facts["ends"]], facts["ends"], strict=False)
        for (start, end), text, voice in zip(bounds, facts["texts"], facts["voices"], strict=True):
            yield Heard(steps[start:end], text, voice)
