"""How much text one input takes, alone or beside a page's render."""

from __future__ import annotations

from operators.model.contract import TextCounter
from schemas.card import ModelCard
from schemas.recipe import Recipe

_OVERHEAD = 64
"""Tokens left for a model's own markers, beside its prompt."""


def sequence_room(card: ModelCard) -> int:
    """Tokens of one input, beside its prompt and markers."""
    return max(card.limits.tokens - _OVERHEAD - card.longest_prompt, card.limits.text_tokens)


def chunk_room(recipe: Recipe, card: ModelCard) -> int:
    """Tokens of one chunk of text."""
    return min(recipe.text.chunk_tokens, card.limits.text_tokens)


def page_room(card: ModelCard, renders: int) -> int:
    """Tokens of text beside so many renders in one input."""
    room = card.limits.text_tokens
    return min(room, sequence_room(card) - renders * card.token_costs.image) if renders else room


def text_beside(text: str, recipe: Recipe, counter: TextCounter, budget: int) -> tuple[str, int]:
    """What of a page's text goes beside its render, in whole tokens, and how many they are at most."""
    text = text[: recipe.pdf.text_chars].rstrip()
    if text.isascii() and len(text) < budget:
        # No tokenizer makes more tokens than bytes.
        return text, len(text)
    while text and len(spans := counter.offsets(text)) > budget:
        text = text[: min(int(spans[max(0, budget)][0]), len(text) - 1)].rstrip()
    return text, len(spans) if text else 0
