"""The hearing tower hears what Whisper's own runtime hears, at a sound's true length, and nothing in noise."""

from __future__ import annotations

from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import av
import ctranslate2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from tokenizers import Tokenizer
from transformers import WhisperFeatureExtractor
from transformers.modeling_outputs import BaseModelOutput

from operators.model.composed import ingredients
from operators.model.device import packs
from operators.model.fused.greedy import CANDIDATES, FEATURES
from operators.model.fused.towers import POOLED, AudioTower, mel_filters
from operators.model.fused.whisper_encoder import WIDTH
from operators.model.fused.whisper_weights import read_ctranslate2
from pipelines.evaluation.stock import stock_whisper
from schemas.errors import ModelError

MEDIA = Path(__file__).with_name("composed_media")
RATE = 16_000
SPOKEN = {
    "lighthouse": "the old lighthouse keeper watched the ships come home",
    "invoice": "please send the invoice to the accounting department by friday",
    "whales": "whales sing long songs that travel across the ocean",
}
Sound = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def tower() -> AudioTower:
    return AudioTower(ingredients.SPEECH.verified())


def sound(name: str) -> Sound:
    with av.open(str(MEDIA / f"{name}.ogg")) as file:
        resampler = av.AudioResampler("s16", "mono", RATE)
        frames = [g for f in file.decode(audio=0) for g in resampler.resample(f)]
        return np.concatenate([f.to_ndarray()[0] for f in frames])


def said(rows: torch.Tensor) -> str:
    tokenizer: Any = Tokenizer.from_file(str(ingredients.SPEECH_TOKENIZER.verified()))
    text: str = tokenizer.decode([int(n) for n in rows[:, WIDTH]])
    return "".join(c for c in text.lower() if c.isalpha() or c == " ").strip()


def wordless(rows: torch.Tensor) -> bool:
    return not rows[:, -CANDIDATES:].any()


def test_encoder_states_are_those_of_the_packages_own_runtime(tower: AudioTower) -> None:
    heard = sound("whales")
    model = ctranslate2.models.Whisper(
        str(ingredients.SPEECH.path().parent), device="cpu", compute_type="float32", intra_threads=1
    )
    mel = np.ascontiguousarray(tower._log_mel([heard], 30).numpy())
    expected = np.array(model.encode(ctranslate2.StorageView.from_array(mel), to_cpu=True))
    states = tower.states([heard], 30)
    assert torch.cosine_similarity(states, torch.from_numpy(expected), dim=2).min() > 0.999


def test_mel_filters_are_those_that_whisper_was_trained_with() -> None:
    theirs: Any = WhisperFeatureExtractor(feature_size=80)  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(mel_filters(), theirs.mel_filters.T, atol=1e-7)


def test_the_path_is_that_of_transformers_own_whisper(tower: AudioTower) -> None:
    """Greedily the same tokens; theirs goes on in loops where a sound is over, ours ends."""
    whisper = stock_whisper()
    sounds = [sound(name) for name in SPOKEN]
    for rows, heard in zip(tower.encode(sounds), sounds, strict=True):
        # Both are given what our encoder hears: a sound, the rest of its last second, and one more.
        states = tower.states([heard], -(-len(heard) // RATE) + 1)
        ids = whisper.generate(encoder_outputs=BaseModelOutput(last_hidden_state=states))[0].tolist()
        path = [int(n) for n in rows[:, WIDTH]]
        assert len(path) > 5
        assert ids[: len(path)] == path


def test_words_are_heard_in_order_and_a_batch_changes_nothing(tower: AudioTower) -> None:
    sounds = [sound(name) for name in SPOKEN]
    rows = tower.encode([*sounds, np.zeros(40_000, np.int16)])
    # A small Whisper mishears a sound or where a word ends: "wails", "light housekeeper".
    close = [
        SequenceMatcher(None, said(r), text).ratio() for r, text in zip(rows, SPOKEN.values(), strict=False)
    ]
    assert min(close) > 0.85
    assert wordless(rows[3])
    torch.testing.assert_close(tower.encode(sounds[:1])[0], rows[0], rtol=1e-3, atol=1e-3)


def test_a_packed_tower_hears_the_same(tower: AudioTower) -> None:
    sounds = [sound(name) for name in SPOKEN]
    packed = AudioTower(ingredients.SPEECH.verified())
    packed.pack()
    for found, expected in zip(packed.encode(sounds), tower.encode(sounds), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    if packs(torch.device("cpu"), torch.float32):
        assert not [m for m in packed.modules() if isinstance(m, torch.nn.Linear)]


def test_a_sound_that_is_over_leaves_the_others_as_they_are(tower: AudioTower) -> None:
    short, long = sound("lighthouse")[: 2 * RATE], sound("invoice")
    sounds = [short, short, short, long]
    for found, own in zip(tower.encode(sounds), sounds, strict=True):
        torch.testing.assert_close(found, tower.encode([own])[0], rtol=1e-3, atol=1e-3)


def test_features_are_states_numbers_and_probabilities(tower: AudioTower) -> None:
    (rows,) = tower.encode([sound("invoice")])
    numbers, belief = rows[:, WIDTH:-CANDIDATES], rows[:, -CANDIDATES:]
    assert rows.shape[1] == FEATURES
    assert numbers.equal(numbers.round())
    assert (belief.sum(1) <= 1.0001).all()
    assert belief.equal(belief.sort(1, descending=True).values)


@pytest.mark.parametrize("samples", [0, 1, 500, 16_000])
def test_silence_of_any_length_has_no_words(tower: AudioTower, samples: int) -> None:
    (rows,) = tower.encode([np.zeros(samples, np.int16)])
    assert rows.shape == (POOLED, FEATURES)
    assert wordless(rows)
    assert torch.isfinite(rows).all()


def test_words_of_a_long_sound_are_heard_across_windows_and_its_pauses_dropped(tower: AudioTower) -> None:
    pause = np.zeros(31 * RATE, np.int16)
    (rows,) = tower.encode([np.concatenate([sound("whales"), pause, pause, sound("invoice")])])
    words = said(rows).split()
    assert words.index("songs") < words.index("ocean") < words.index("accounting")
    assert (rows[:, -CANDIDATES:].sum(1) > 0).all()


def test_sound_that_ends_is_not_repeated(tower: AudioTower) -> None:
    (rows,) = tower.encode([sound("lighthouse")[: int(1.2 * RATE)]])
    words = said(rows).split()
    assert len(words) <= 8
    assert len(set(words)) >= len(words) - 2


def test_file_of_another_kind_is_named(tmp_path: Path) -> None:
    other = tmp_path / "model.bin"
    other.write_bytes(b"\x07\x00\x00\x00\x02\x00x\x00" + bytes(8))
    with pytest.raises(ModelError, match="version 7, 6 is read"):
        read_ctranslate2(other)
    other.write_bytes(ingredients.SPEECH.path().read_bytes()[:5_000])
    with pytest.raises(ModelError, match="not a CTranslate2 file"):
        read_ctranslate2(other)
