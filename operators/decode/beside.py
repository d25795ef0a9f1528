"""The text that goes beside a page's render."""

from __future__ import annotations

from operators.model.contract import TextCounter
from schemas.card import ModelCard
from schemas.recipe import Recipe

_OVERHEAD = 64
"""Tokens left for a model's own markers, beside its prompt."""


def text_beside(text: str, recipe: Recipe, card: ModelCard, counter: TextCounter, image: bool) -> str:
    """What of a page's text the model gets: whole tokens, within the recipe and the model's sequence."""
    text = text[: recipe.pdf.text_chars].rstrip()
    budget = card.limits.text_tokens
    if image:
        prompt = max(map(len, card.prompts.values()), default=0)
        rest = max(card.limits.tokens - _OVERHEAD - prompt, budget) - card.token_costs.image
        budget = min(budget, rest)
    while text and len(spans := counter.offsets(text)) > budget:
        text = text[: min(int(spans[max(0, budget)][0]), len(text) - 1)].rstrip()
    return text
