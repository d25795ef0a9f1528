"""Spoken data is the same by seed and resumes; the hearing adapter learns through a trunk that does not move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.model.fused.config import FusedConfig
from operators.model.fused.network import FusedNetwork, Piece
from operators.parts import PartKind
from pipelines.training.data.sound import (
    NOBODY,
    Heard,
    augment,
    colored_noise,
    not_speech,
    read_features,
    write_features,
)
from pipelines.training.hearing import teach_hearing
from pipelines.training.trainer import Stage

torch.set_num_threads(1)
RATE = 16_000
SMALL = FusedConfig(
    hidden=32, layers=2, heads=4, intermediate=64, vocabulary=60, positions=64, vision_groups=(8, 4), picture_tokens=3,
    image_classes=9, image_anchors=8, image_components=(4, 2), audio_dim=12, audio_candidates=2, audio_words=50,
    widths=(32, 16),
)  # fmt: skip
STAGES = [
    Stage(name="hearing", steps=40, batch=8, chunk=16, rate=5e-3, warmup=2, distill=1.0, shares={"speech": 1})
]


def tone(seconds: float) -> npt.NDArray[np.int16]:
    return np.asarray(8_000 * np.sin(np.arange(int(seconds * RATE)) * 0.3), np.int16)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.01, 3), st.integers(0, 2**32))
def test_augmented_sound_is_a_sound_of_about_that_length(seconds: float, seed: int) -> None:
    made = augment(tone(seconds), np.random.default_rng(seed))
    assert made.dtype == np.int16
    assert seconds * RATE / 1.25 <= len(made) <= (seconds + 0.7) * RATE * 1.25
    assert np.abs(made).max() > 10
    assert np.array_equal(made, augment(tone(seconds), np.random.default_rng(seed)))


def test_speed_moves_pitch() -> None:
    rng = np.random.default_rng(3)
    peaks = set()
    for _ in range(12):
        made = augment(tone(1), rng).astype(np.float64)
        peaks.add(round(float(np.argmax(np.abs(np.fft.rfft(made))) * RATE / len(made))))
    assert max(peaks) / min(peaks) > 1.15


def test_noise_slopes_differ() -> None:
    rng = np.random.default_rng(0)
    tilts = []
    for _ in range(8):
        power = np.abs(np.fft.rfft(colored_noise(RATE, rng))) ** 2
        tilts.append(power[4_000:].sum() / power.sum())
    assert min(tilts) < 0.1 < 0.4 < max(tilts)


def test_sounds_without_speech_are_named_and_as_long_as_said() -> None:
    rng = np.random.default_rng(0)
    made = [not_speech(rng) for _ in range(60)]
    assert {name for _, name in made} == {"silence", "noise", "a tone", "music"}
    assert all(0.6 * RATE <= len(sound) <= 4 * RATE for sound, _ in made)
    loud = {name: float(np.abs(sound).max()) for sound, name in made}
    assert loud["silence"] < 300 < loud["music"]


def loudness(sounds: Sequence[npt.NDArray[np.int16]]) -> list[npt.NDArray[np.float32]]:
    """A row for every tenth of a second: an encoder of two numbers."""
    rows = [s[: len(s) // 1_600 * 1_600].reshape(-1, 1_600).astype(np.float32) for s in sounds]
    return [np.stack([r.mean(1), np.abs(r).max(1)], 1) for r in rows]


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "spoken"
    folder.mkdir()
    for number in range(2):
        sounds = [tone(0.5 + 0.1 * i) for i in range(33)]
        np.savez(
            folder / f"{number:05d}.npz",
            samples=np.concatenate(sounds),
            ends=np.cumsum([len(s) for s in sounds]),
            texts=np.array([f"sentence {number} {i}" for i in range(33)]),
            voices=np.array(["flite/awb"] * 33),
        )
    return sorted(folder.glob("*.npz"))


def test_features_resume_shard_by_shard_and_are_the_same(shards: list[Path], tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    write_features(shards, whole, loudness, seed=1)
    write_features(shards[1:], parts, loudness, seed=1)
    (parts / "00000.partial").write_bytes(b"of a run that was killed")
    write_features(shards, parts, loudness, seed=1)
    expected, found = list(read_features(whole)), list(read_features(parts))
    assert [h.text for h in found] == [h.text for h in expected]
    assert all(np.array_equal(a.features, b.features) for a, b in zip(expected, found, strict=True))
    assert [h.text for h in found if h.voice != NOBODY] == [
        f"sentence {n} {i}" for n in range(2) for i in range(33)
    ]
    assert sum(h.voice == NOBODY for h in found) == 2


def test_another_seed_gives_other_features(shards: list[Path], tmp_path: Path) -> None:
    for seed in (1, 2):
        write_features(shards[:1], tmp_path / str(seed), loudness, seed=seed)
    a, b = (next(read_features(tmp_path / str(seed))).features for seed in (1, 2))
    assert a.shape != b.shape or not np.array_equal(a, b)


def network() -> FusedNetwork:
    torch.manual_seed(0)
    return FusedNetwork(SMALL).eval()


def spoken() -> list[Heard]:
    """Two-word sentences whose second word the tower mistakes, in a way that its state tells."""
    drawn = np.random.default_rng(0)
    made = []
    for i in range(64):
        right = i % 8
        rows = drawn.normal(size=(2, 12)).astype(np.float32)
        rows[1, :8] = 3 * np.eye(8)[right]
        rows[:, 8:10] = [[i // 8, 49], [49, right]]
        rows[:, 10:] = [[0.9, 0.05], [0.5, 0.4]]
        made.append(Heard(rows, f"{i // 8} {right}", "flite/awb"))
    return made


def vectors_of(model: FusedNetwork, heard: Sequence[Heard]) -> torch.Tensor:
    ids = [[int(word) for word in h.text.split()] for h in heard]
    with torch.no_grad():
        vectors: torch.Tensor = model([[Piece(PartKind.TOKENS, torch.tensor(row))] for row in ids])
    return vectors


def test_adapter_learns_and_nothing_else_moves(tmp_path: Path) -> None:
    model, heard = network(), spoken()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = teach_hearing(model, heard, vectors_of(model, heard), tmp_path, STAGES)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    moved = {n for n, value in model.state_dict().items() if not torch.equal(value, before[n])}
    assert moved
    assert all(name.startswith("audio.") for name in moved)


def test_sounds_without_words_are_taught_without_unlearning_words(tmp_path: Path) -> None:
    model = network()
    drawn = np.random.default_rng(1)
    rows = [np.pad(drawn.normal(size=(2, 8)), ((0, 0), (0, 4))).astype(np.float32) for _ in range(6)]
    heard = spoken() + [Heard(row, f"{i % 2} 5", NOBODY) for i, row in enumerate(rows)]
    stage = STAGES[0].model_copy(
        update={"shares": {"unspoken": 1.0}, "frozen": ("beyond.", "norm.", "evenness")}
    )
    before = model.audio(
        [torch.from_numpy(h.features) for h in heard], model.trunk.embeddings.word_embeddings.weight
    )
    losses = teach_hearing(model, heard, vectors_of(model, heard), tmp_path, [stage])
    after = model.audio(
        [torch.from_numpy(h.features) for h in heard], model.trunk.embeddings.word_embeddings.weight
    )
    same = [torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert sum(losses[-5:]) < sum(losses[:5])
    assert same == [h.voice != NOBODY for h in heard]


def test_interrupted_training_ends_with_the_same_adapter(tmp_path: Path) -> None:
    heard = spoken()
    states = []
    for folder, stops in (("whole", [None]), ("parts", [13, None])):
        for stop in stops:
            model = network()
            teach_hearing(model, heard, vectors_of(model, heard), tmp_path / folder, STAGES, stop_after=stop)
        states.append(model.audio.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
