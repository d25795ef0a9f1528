"""What was kept for one model serves another exactly when it would have decoded the same, or less sharply."""

from __future__ import annotations

import pytest

from operators.prepared.fit import KeptFor
from schemas.card import ImageInput, Modality, ModelCard
from schemas.recipe import Recipe
from tests.models.hashed import HashSpec, WordCounter

CARD = HashSpec().card
SQUARE, WIDE = ImageInput(side=32), ImageInput(fit="contain", side=64)


class LetterCounter(WordCounter):
    """Another tokenizer."""


def kept(media: Modality, card: ModelCard = CARD, side: int | None = 32, other: bool = False) -> KeptFor:
    counter = LetterCounter() if other else WordCounter()
    made = KeptFor.of(media, Recipe(), card, counter)
    return made.model_copy(update={"short_side": side})


def changed(**limits: int) -> ModelCard:
    return CARD.model_copy(update={"limits": CARD.limits.model_copy(update=limits)})


def with_pictures(want: ImageInput) -> ModelCard:
    return CARD.model_copy(update={"image": want, "frame": want})


@pytest.mark.parametrize("media", list(Modality))
def test_the_same_needs_fit(media: Modality) -> None:
    renamed = CARD.model_copy(update={"model_id": "new", "weights_digest": "0", "widths": (8,)})
    assert kept(media).fits(kept(media, renamed))


@pytest.mark.parametrize(
    ("media", "fits"),
    [("text", False), ("document", False), ("page", True), ("video", True), ("image", True)],
)
def test_another_tokenizer_matters_only_where_it_cuts(media: str, fits: bool) -> None:
    assert kept(Modality(media)).fits(kept(Modality(media), other=True)) is fits


def test_pages_without_renders_are_cut_by_the_tokenizer() -> None:
    texts = CARD.model_copy(update={"image": None})
    assert not kept(Modality.PAGE, texts, None).fits(kept(Modality.PAGE, texts, None, other=True))


@pytest.mark.parametrize(
    ("media", "limit"), [("audio", "audio_ms"), ("video", "video_frames"), ("text", "text_tokens")]
)
def test_other_windows_do_not_fit(media: str, limit: str) -> None:
    assert not kept(Modality(media)).fits(kept(Modality(media), changed(**{limit: 3})))


@pytest.mark.parametrize("media", list(Modality))
def test_what_the_model_does_not_take_does_not_fit(media: Modality) -> None:
    others = tuple(modality for modality in Modality if modality is not media)
    assert not kept(media).fits(kept(media, CARD.model_copy(update={"modalities": others})))


@pytest.mark.parametrize(
    ("had", "want", "side", "fits"),
    [
        (SQUARE, ImageInput(side=16), 32, True),
        (SQUARE, ImageInput(side=33), 32, False),
        (SQUARE, ImageInput(side=33), None, True),
        (SQUARE, ImageInput(fit="contain", side=8), 32, False),
        (WIDE, ImageInput(fit="contain", side=48), 20, True),
        (WIDE, ImageInput(fit="contain", side=65), 20, False),
        (WIDE, ImageInput(side=32), 32, True),
        (WIDE, ImageInput(side=32), 20, False),
    ],
)
def test_pictures_serve_a_model_that_sees_no_more_of_them(
    had: ImageInput, want: ImageInput, side: int | None, fits: bool
) -> None:
    made = kept(Modality.IMAGE, with_pictures(had), side)
    assert made.fits(kept(Modality.IMAGE, with_pictures(want))) is fits
