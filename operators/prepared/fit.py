"""Whether what was kept of an asset for one model is what another would have decoded of it."""

from __future__ import annotations

import hashlib
import json
import pickle
from typing import Any

from operators.decode.sound import window_samples
from operators.decode.windows import Plan
from operators.model.contract import TextCounter
from operators.prepared.codec import FORMAT
from schemas.card import Frozen, ImageInput, Modality, ModelCard
from schemas.recipe import Recipe

ARCHIVE = "archive"
"""What an archive's own row is kept for: what lies in it says the rest."""


class KeptFor(Frozen):
    """What an asset's media were made for.

    `media` is what decoded it, `cut` a digest of what, beside the recipe, decided its segments, and `short_side` the
    shortest side in pixels of its pictures, None without some.
    """

    format: int = FORMAT
    media: Modality
    cut: str
    image: ImageInput | None
    frame: ImageInput | None
    short_side: int | None = None

    @classmethod
    def of(cls, media: Modality, recipe: Recipe, card: ModelCard, counter: TextCounter) -> KeptFor:
        """For assets of a kind, decoded for a model."""
        return cls(media=media, cut=_cut(media, recipe, card, counter), image=card.image, frame=card.frame)

    def fits(self, want: KeptFor) -> bool:
        """Whether what was kept gives the segments that are wanted, at no lower a resolution than is wanted."""
        same = (self.format, self.media, self.cut) == (want.format, want.media, want.cut)
        sizes = ((self.image, want.image), (self.frame, want.frame))
        return same and all(self._resolves(kept, wanted) for kept, wanted in sizes)

    def _resolves(self, kept: ImageInput | None, want: ImageInput | None) -> bool:
        if kept == want or self.short_side is None:
            return True
        if kept is None or want is None:
            return False
        if want.fit == "square":
            return want.side <= self.short_side
        return kept.fit == "contain" and want.side <= kept.side


def _cut(media: Modality, recipe: Recipe, card: ModelCard, counter: TextCounter) -> str:
    """A digest of all that decides where an asset is cut, of the card's many fields the least possible."""
    moving = card.accepts(Modality.VIDEO) and card.frame is not None
    basis: Any
    texts = [_limits(card), hashlib.sha256(pickle.dumps(counter)).hexdigest()]
    if media is Modality.PAGE:
        drawn = card.accepts(Modality.PAGE) and card.image is not None
        # How many pages go together, and how much text of each, is the model's; beside single renders it is cut anew.
        basis = drawn if drawn and recipe.pdf.pages_per_segment == 1 else [drawn, texts]
    elif media is Modality.AUDIO:
        basis = [window_samples(recipe, card), card.sample_rate]
    elif media is Modality.IMAGE:
        basis = _plan(recipe, card, sound=False) if moving else None
    elif media is Modality.VIDEO:
        sound = card.accepts(Modality.AUDIO)
        plans = [_plan(recipe, card, sound=with_sound) for with_sound in (False, True)] if moving else None
        basis = [sound, plans, window_samples(recipe, card), card.sample_rate]
    else:
        basis = texts
    basis = [card.accepts(media), basis]
    return hashlib.sha256(json.dumps(basis, sort_keys=True).encode()).hexdigest()[:16]


def _plan(recipe: Recipe, card: ModelCard, sound: bool) -> list[int]:
    plan = Plan.of(recipe, card, sound=sound)
    return [plan.window, plan.overlap, plan.rate]


def _limits(card: ModelCard) -> dict[str, Any]:
    fields = {"limits", "token_costs", "sample_rate"}
    return {
        **card.model_dump(include=fields),
        "takes": sorted(card.modalities),
        "prompt": card.longest_prompt,
    }
