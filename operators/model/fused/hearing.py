"""Sound into the trunk: the words that are heard, as the trunk's own word embeddings weighted by belief."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from tokenizers import Tokenizer
from torch import nn

from operators.model.fused.config import FusedConfig
from operators.model.fused.soft import SoftTokens

_EVENNESS = 0.5
"""The power of a probability that weighs best before training: what is less likely counts more than its share."""
_LEAST = 1e-9
_PIECES = 3
"""Word pieces that one token of the audio tower becomes at most."""


class AudioTokens(nn.Module):
    """The adapter of the audio tower.

    A row of the tower names the tokens that were perhaps heard and how likely each is. Their word embeddings,
    weighted so, are the soft token, and what the tower's state knows beyond them is added by a network that starts
    at nothing. Rows of a sound without words are projected as they are.
    """

    pieces: torch.Tensor

    def __init__(self, config: FusedConfig) -> None:
        super().__init__()
        self.candidates, self.most = config.audio_candidates, config.audio_tokens
        self.width = config.audio_dim - 2 * config.audio_candidates
        self.evenness = nn.Parameter(torch.tensor(_EVENNESS))
        self.norm = nn.LayerNorm(self.width)
        self.beyond = nn.Sequential(
            nn.Linear(self.width, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.hidden)
        )
        self.fallback = SoftTokens(self.width, config.hidden)
        for parameter in self.beyond[2].parameters():
            nn.init.zeros_(parameter)
        pieces = torch.full((config.audio_words, _PIECES), -1, dtype=torch.int16)
        pieces[:, 0] = torch.arange(config.audio_words) % config.vocabulary
        self.register_buffer("pieces", pieces)

    def forward(self, features: Sequence[torch.Tensor], words: torch.Tensor) -> list[torch.Tensor]:
        """Soft tokens of sounds.

        Args:
            features: of each sound `[rows, audio_dim]`: a state, the numbers of the tower's likeliest tokens and
                their probabilities; probabilities of 0 mark a row without a word.
            words: the trunk's word embeddings `[vocabulary, hidden]`.

        Returns:
            For each sound `[tokens, hidden]`: about as many as words were heard in it, `audio_tokens` at most.
        """
        if not features:
            return []
        rows = torch.cat(list(features))
        state, numbers, belief = torch.split(rows, [self.width, self.candidates, self.candidates], 1)
        spoken = belief.sum(1) > 0
        weights = belief.clamp(min=_LEAST).pow(self.evenness) * (belief > 0)
        weights = weights / weights.sum(1, keepdim=True).clamp(min=_LEAST)
        pieces = self.pieces[numbers.long()].long()
        counts = (pieces >= 0).sum(2)
        tokens = torch.where(spoken, counts[:, 0], 1)
        row = torch.arange(len(rows), device=rows.device).repeat_interleave(tokens)
        place = torch.arange(len(row), device=rows.device) - (tokens.cumsum(0) - tokens)[row]
        soft = torch.where(
            spoken[row, None],
            self._words(pieces[row], counts[row], place, weights[row], words)
            + self.beyond(self.norm(state))[row],
            self.fallback(state)[row],
        )
        owners = torch.arange(len(features), device=rows.device).repeat_interleave(
            torch.tensor([len(f) for f in features], device=rows.device)
        )
        sizes = torch.bincount(owners[row], minlength=len(features)).tolist()
        return [sound[: self.most] for sound in torch.split(soft, sizes)]

    @staticmethod
    def _words(
        pieces: torch.Tensor,
        counts: torch.Tensor,
        place: torch.Tensor,
        weights: torch.Tensor,
        words: torch.Tensor,
    ) -> torch.Tensor:
        """The candidates' pieces at a place, weighted; one with fewer pieces stands there with its last."""
        index = torch.minimum(place[:, None], (counts - 1).clamp(min=0))
        chosen = pieces.gather(2, index[..., None])[..., 0]
        kept = weights * (chosen >= 0)
        summed: torch.Tensor = nn.functional.embedding_bag(
            chosen.clamp(min=0), words, per_sample_weights=kept.to(words), mode="sum"
        )
        return summed


def word_pieces(heard: Tokenizer, read: Tokenizer, count: int) -> torch.Tensor:
    """What the trunk reads for each of the tower's tokens: numbers of its word pieces int16 `[count, 3]`, -1: none.

    A token that begins with a space begins a word; another one continues it, and is a continuing piece where the
    trunk has that.
    """
    table = torch.full((count, _PIECES), -1, dtype=torch.int16)
    for number in range(count):
        text = heard.decode([number], skip_special_tokens=False)
        within = None if text.startswith(" ") else read.token_to_id(f"##{text.lower()}")
        ids = read.encode(text, add_special_tokens=False).ids if within is None else [within]
        for place, piece in enumerate(ids[:_PIECES]):
            table[number, place] = piece
    return table
