"""Sentences spoken by free synthesizers, with voices and sentences held out; written in shards, resumable."""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from schemas.errors import SourceError

RATE = 16_000
SHARD = 500
_TIMEOUT_S = 60
_TEST_FOLD = 16
_PROGRAMS = {"espeak-ng": "espeak-ng", "flite": "flite", "festival": "text2wave"}
_PACKAGES = {
    "espeak-ng": "espeak-ng",
    "flite": "flite",
    "festival": "festival festvox-kallpc16k festvox-kdlpc16k",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A voice of a synthesizer; one that is held out speaks test sentences only."""

    engine: Literal["espeak-ng", "flite", "festival"]
    name: str
    held_out: bool = False
    share: int = 1


VOICES = (
    *(Voice(engine="espeak-ng", name=f"en-us+{v}") for v in ("m1", "m3", "m7", "f1", "f2", "f4")),
    *(Voice(engine="espeak-ng", name=f"{a}+{v}") for a in ("en-gb", "en-gb-scotland") for v in ("m2", "f3")),
    Voice(engine="flite", name="kal16", share=3),
    Voice(engine="flite", name="awb", share=4),
    Voice(engine="flite", name="rms", share=4),
    Voice(engine="festival", name="kal_diphone", share=2),
    Voice(engine="flite", name="slt", held_out=True),
    Voice(engine="festival", name="ked_diphone", held_out=True),
)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A sentence, who speaks it, and how fast (1 is the voice's own pace)."""

    text: str
    voice: Voice
    pace: float


def is_test_sentence(text: str) -> bool:
    """Whether a sentence is kept for testing: one of sixteen, by its digest."""
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(), 16) % _TEST_FOLD == 0


def plan(texts: Sequence[str], count: int, seed: int = 0, held_out: bool = False) -> list[Utterance]:
    """Who says what: training sentences by training voices, or test sentences by held-out ones."""
    rng = random.Random(seed)  # noqa: S311
    kept = sorted(t for t in texts if is_test_sentence(t) is held_out)
    voices = [v for v in VOICES if v.held_out is held_out]
    shares = [v.share for v in voices]
    rng.shuffle(kept)
    chosen = [kept[i % len(kept)] for i in range(count)]
    return [Utterance(t, rng.choices(voices, shares)[0], rng.uniform(0.85, 1.2)) for t in chosen]


def write_shards(utterances: Sequence[Utterance], folder: Path, workers: int = 1) -> None:
    """Speak all that is not spoken yet: `NNNNN.npz` of `SHARD` utterances, each written whole or not at all.

    Raises:
        SourceError: a synthesizer is not installed, failed, or took a minute.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batches = {
        folder / f"{start // SHARD:05d}.npz": utterances[start : start + SHARD]
        for start in range(0, len(utterances), SHARD)
    }
    todo = {path: batch for path, batch in batches.items() if not path.exists()}
    for engine in sorted({u.voice.engine for batch in todo.values() for u in batch}):
        _check_installed(engine)
    with ThreadPoolExecutor(workers) as pool:
        for written in [pool.submit(_write_shard, path, batch) for path, batch in todo.items()]:
            written.result()


def _check_installed(engine: str) -> None:
    program = _PROGRAMS[engine]
    if shutil.which(program) is None:
        raise SourceError(
            f"{engine} speaks some of the sentences and is not installed (no {program} on the PATH): "
            f"apt-get install {_PACKAGES[engine]}"
        )


def _write_shard(path: Path, batch: Sequence[Utterance]) -> None:
    sounds = [speak(u) for u in batch]
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(
            file,
            samples=np.concatenate(sounds),
            ends=np.cumsum([len(s) for s in sounds]),
            texts=np.array([u.text for u in batch]),
            voices=np.array([f"{u.voice.engine}/{u.voice.name}" for u in batch]),
        )
    partial.rename(path)


def read_shard(path: Path) -> Iterator[tuple[npt.NDArray[np.int16], str, str]]:
    """Samples, text and voice of each utterance of a shard."""
    with np.load(path) as shard:
        sounds = np.split(shard["samples"], shard["ends"][:-1])
        yield from zip(sounds, shard["texts"].tolist(), shard["voices"].tolist(), strict=True)


def speak(utterance: Utterance) -> npt.NDArray[np.int16]:
    """int16 samples `[samples]`, mono, 16 kHz.

    Raises:
        SourceError: the synthesizer cannot be run, failed, or took a minute.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.wav"
        command, typed = _command(utterance, out)
        try:
            subprocess.run(  # noqa: S603
                command, input=typed, capture_output=True, text=True, check=True, timeout=_TIMEOUT_S
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise SourceError(f"{command[0]} could not speak '{utterance.text}': {error}") from error
        return _read_wave(out)


def _command(utterance: Utterance, out: Path) -> tuple[list[str], str]:
    """Command line and standard input; a text never stands in a command line."""
    voice, pace = utterance.voice, utterance.pace
    program = _PROGRAMS[voice.engine]
    if voice.engine == "espeak-ng":
        words_per_minute = str(round(165 * pace))
        return [
            program,
            "-v",
            voice.name,
            "-s",
            words_per_minute,
            "-w",
            str(out),
            "--stdin",
        ], utterance.text
    stretch = f"{1 / pace:.3f}"
    if voice.engine == "flite":
        text_file = out.with_suffix(".txt")
        text_file.write_text(utterance.text, encoding="utf-8")
        setting = f"duration_stretch={stretch}"
        return [program, "-voice", voice.name, "--setf", setting, "-f", str(text_file), "-o", str(out)], ""
    scheme = f"(begin (voice_{voice.name}) (Parameter.set 'Duration_Stretch {stretch}))"
    return [program, "-eval", scheme, "-F", str(RATE), "-o", str(out)], utterance.text


def _read_wave(path: Path) -> npt.NDArray[np.int16]:
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        rate = file.getframerate()
    if rate == RATE:
        return samples
    resampled = resample_poly(samples.astype(np.float64), RATE, rate)
    return np.asarray(np.clip(resampled, -32_768, 32_767), np.int16)
