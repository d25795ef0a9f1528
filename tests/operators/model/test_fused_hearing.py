"""The audio adapter speaks the trunk's words, as far as the tower believes them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from operators.model.fused.config import FusedConfig
from operators.model.fused.hearing import AudioTokens, word_pieces

CONFIG = FusedConfig(
    hidden=32, layers=2, heads=4, vocabulary=100, audio_dim=12, audio_candidates=2, audio_words=50, audio_tokens=6
)  # fmt: skip
WORDS = torch.randn(100, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def untouched() -> AudioTokens:
    torch.manual_seed(0)
    return AudioTokens(CONFIG).eval()


@pytest.fixture(scope="module")
def adapter() -> AudioTokens:
    torch.manual_seed(0)
    made = AudioTokens(CONFIG).eval()
    made.pieces[7] = torch.tensor([20, 21, -1])
    made.pieces[8] = torch.tensor([30, -1, -1])
    made.pieces[9] = -1
    return made


def row(numbers: tuple[int, int] = (0, 0), belief: tuple[float, float] = (0.0, 0.0)) -> torch.Tensor:
    return torch.cat([torch.randn(8), torch.tensor([*numbers, *belief])])


@torch.no_grad()
def test_sure_words_become_exactly_their_word_embeddings(adapter: AudioTokens) -> None:
    (tokens,) = adapter([torch.stack([row((7, 3), (0.9, 0.0)), row((8, 3), (0.5, 0.0))])], WORDS)
    torch.testing.assert_close(tokens, WORDS[[20, 21, 30]])


@torch.no_grad()
def test_belief_is_shared_between_candidates(adapter: AudioTokens) -> None:
    first, second = 0.64**adapter.evenness, 0.04**adapter.evenness
    (tokens,) = adapter([row((8, 7), (0.64, 0.04))[None]], WORDS)
    torch.testing.assert_close(tokens, ((first * WORDS[30] + second * WORDS[20]) / (first + second))[None])


@torch.no_grad()
def test_sound_without_words_keeps_its_rows(adapter: AudioTokens) -> None:
    (tokens,) = adapter([torch.stack([row(), row()])], WORDS)
    assert tokens.shape == (2, 32)
    assert torch.cdist(tokens, WORDS).min() > 1e-3


@torch.no_grad()
def test_token_that_the_trunk_cannot_write_is_left_out(adapter: AudioTokens) -> None:
    (tokens,) = adapter([torch.stack([row((9, 3), (0.9, 0.0)), row((8, 3), (0.9, 0.0))])], WORDS)
    torch.testing.assert_close(tokens, WORDS[[30]])


@torch.no_grad()
@given(st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_batch_equals_one_by_one_and_is_cut(untouched: AudioTokens, lengths: list[int]) -> None:
    sounds = [torch.stack([row((n, 3), (0.6, 0.3)) for n in range(length + 1)]) for length in lengths]
    together = untouched(sounds, WORDS)
    assert [len(t) for t in together] == [min(length + 1, 6) for length in lengths]
    for sound, tokens in zip(sounds, together, strict=True):
        torch.testing.assert_close(untouched([sound], WORDS)[0], tokens)


def test_belief_state_and_words_get_gradients(adapter: AudioTokens) -> None:
    torch.manual_seed(0)
    learning = AudioTokens(CONFIG)
    torch.nn.init.normal_(learning.beyond[2].get_parameter("weight"))
    words = WORDS.clone().requires_grad_()
    spoken = torch.stack([row((1, 2), (0.6, 0.3)), row((3, 4), (0.5, 0.1))]).requires_grad_()
    silent = torch.stack([row(), row()])
    torch.cat(learning([spoken, silent], words)).square().sum().backward()  # type: ignore[no-untyped-call]
    assert spoken.grad is not None
    assert spoken.grad[:, :8].any()
    assert spoken.grad[:, 10:].any()
    assert learning.evenness.grad
    assert words.grad is not None
    assert words.grad[[1, 2, 3, 4]].any(1).all()
    assert learning.fallback.linear.weight.grad is not None


def test_no_sounds_give_no_tokens(adapter: AudioTokens) -> None:
    assert adapter([], WORDS) == []


def test_continuing_tokens_become_continuing_pieces(tmp_path: Path) -> None:
    heard = Tokenizer(models.WordLevel({" light": 0, "house": 1, " ": 2, "zzz": 3}, unk_token="zzz"))
    read = Tokenizer(
        models.WordPiece(
            {"[UNK]": 0, "light": 1, "house": 2, "##house": 3, "z": 4, "##z": 5}, unk_token="[UNK]"
        )
    )
    read.pre_tokenizer = pre_tokenizers.Whitespace()
    table = word_pieces(heard, read, 4)
    assert table.tolist() == [[1, -1, -1], [3, -1, -1], [-1, -1, -1], [4, 5, 5]]
