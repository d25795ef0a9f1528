"""The likeliest path ends where a sound does: at its end token, its limit, in a loop, or before it begins."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from operators.model.fused.greedy import FEATURES, greedy_paths
from operators.model.fused.whisper_decoder import TOKENS
from operators.model.fused.whisper_encoder import WIDTH

END, NO_SPEECH = 50_256, 50_361
LIMIT = 16
"""Tokens of a sound of no length."""


class Scripted:
    """A decoder that says what it is told to: of each sound tokens and how sure it is, and if anybody speaks."""

    def __init__(self, *said: list[int], sure: float = 0.9, doubt: float = 0.0) -> None:
        self.said, self.sure, self.doubt = said, sure, doubt
        self.sounds = torch.arange(len(said))
        self.step = -1

    def listen(self, states: Any, steps: int) -> Scripted:
        """Itself: what a path holds on to."""
        assert len(states) == len(self.said)
        return self

    def keep(self, sounds: torch.Tensor) -> None:
        self.sounds = self.sounds[sounds]

    def __call__(self, tokens: torch.Tensor, hearing: Scripted) -> torch.Tensor:
        assert len(tokens) == len(self.sounds)
        self.step += 1
        return torch.zeros(len(tokens), WIDTH)

    def belief(self, states: torch.Tensor) -> torch.Tensor:
        chances = torch.zeros(len(states), TOKENS)
        for row, sound in enumerate(self.sounds.tolist()):
            told = self.said[sound][self.step - 1 :]
            chances[row, told[0] if told else END] = self.sure
        if self.step == 0:
            chances[:, NO_SPEECH] = self.doubt
        return chances


def heard(decoder: Scripted, *seconds: int) -> list[list[int]]:
    states = [torch.zeros(3, WIDTH) for _ in decoder.said]
    given: Any = decoder
    rows = greedy_paths(given, states, seconds or [0] * len(states))
    assert all(row.shape[1] == FEATURES for row in rows)
    return [row[:, WIDTH].int().tolist() for row in rows]


def test_a_path_ends_with_its_end_token_and_the_others_go_on() -> None:
    said = [[1, 2], list(range(10, 22)), [], [5]]
    assert heard(Scripted(*said)) == said


def test_sounds_that_all_end_at_once_say_nothing() -> None:
    assert heard(Scripted([], [])) == [[], []]


def test_nobody_says_more_than_a_sounds_length_allows() -> None:
    long = list(range(100, 200))
    assert heard(Scripted(long, long), 0, 1) == [long[:LIMIT], long[: LIMIT + 8]]


def test_a_loop_ends_a_path_where_it_began() -> None:
    assert heard(Scripted([1, 2, 3, 4, 5, 1, 2, 3, 4, 9])) == [[1, 2, 3, 4, 5]]


def test_a_loop_behind_a_sounds_limit_takes_nothing_back() -> None:
    """It is still decoded beside four others that go on."""
    short, long = list(range(LIMIT)), list(range(100, 130))
    found = heard(Scripted([*short, 3, 4, 5, 6], *[long] * 4), 0, 2, 2, 2, 2)
    assert found == [short, *[long] * 4]


@pytest.mark.parametrize(
    ("doubt", "sure", "expected"), [(0.9, 0.2, []), (0.9, 0.6, [1, 2]), (0.5, 0.2, [1, 2])]
)
def test_unsure_words_are_none_where_perhaps_nobody_speaks(
    doubt: float, sure: float, expected: list[int]
) -> None:
    assert heard(Scripted([1, 2], sure=sure, doubt=doubt)) == [expected]
