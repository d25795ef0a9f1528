"""The shipped fused model finds what it should: pictures by name, speech by text, mixtures by both parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from operators.decode.image import fit_pixels
from operators.model.fused.engine import FusedEngine
from operators.model.fused.spec import FusedSpec
from operators.model.registry import FUSED_MODEL
from operators.parts import Part, PartKind
from pipelines.evaluation.speech import read_sound
from schemas.card import Role
from tests.operators.model.shipped import with_ingredients
from tests.operators.model.test_composed import EMOJI, MEDIA, SPOKEN

pytestmark = with_ingredients
Vectors = npt.NDArray[np.float32]
Row = tuple[Part, ...]


def text(value: str) -> Part:
    return Part(PartKind.TEXT, value)


def emoji(fused_spec: FusedSpec) -> list[Part]:
    assert fused_spec.card.image is not None
    sheet = np.asarray(Image.open(MEDIA / "emoji.webp").convert("RGB"))
    tiles = sheet.reshape(4, 112, 5, 112, 3).swapaxes(1, 2).reshape(20, 112, 112, 3)
    return [Part(PartKind.IMAGE, data=fit_pixels(Image.fromarray(t), fused_spec.card.image)) for t in tiles]


def spoken(name: str) -> Part:
    return Part(PartKind.AUDIO, data=read_sound(Path(MEDIA) / f"{name}.ogg"))


def embed(fused_spec: FusedSpec, fused_engine: FusedEngine, rows: list[Row]) -> Vectors:
    return cut(fused_engine.embed(fused_spec.preparer(Role.DOCUMENT).prepare(rows)[0]))


def cut(vectors: Vectors, width: int | None = None) -> Vectors:
    """Unit vectors of the first `width` numbers."""
    return vectors[:, :width] / np.linalg.norm(vectors[:, :width], axis=1, keepdims=True)


@pytest.fixture(scope="module")
def named_pictures(fused_spec: FusedSpec, fused_engine: FusedEngine) -> tuple[Vectors, Vectors]:
    """The vectors of the emoji's names, and of the emoji."""
    names, pictures = [(text(name),) for name in EMOJI], [(e,) for e in emoji(fused_spec)]
    return embed(fused_spec, fused_engine, names), embed(fused_spec, fused_engine, pictures)


def test_the_shipped_name_is_a_model_of_the_fused_family(fused_spec: FusedSpec) -> None:
    assert fused_spec.card.model_id == FUSED_MODEL
    assert fused_spec.card.family == "fused"


@pytest.mark.parametrize(("width", "first", "fifth"), [(384, 0.4, 0.75), (64, 0.3, 0.6)])
def test_unseen_pictures_are_found_by_their_names(
    named_pictures: tuple[Vectors, Vectors], width: int, first: float, fifth: float
) -> None:
    names, pictures = (cut(vectors, width) for vectors in named_pictures)
    order = np.argsort(-(names @ pictures.T), axis=1)
    ranks = np.argmax(order == np.arange(len(EMOJI))[:, None], axis=1)
    assert (ranks == 0).mean() >= first, ranks
    assert (ranks < 5).mean() >= fifth, ranks


def test_a_spoken_sentence_is_found_by_its_text(fused_spec: FusedSpec, fused_engine: FusedEngine) -> None:
    others = [(text(t),) for t in (*SPOKEN.values(), "a recipe for soup", "the stock market")]
    scores = (
        embed(fused_spec, fused_engine, [(spoken(name),) for name in SPOKEN])
        @ embed(fused_spec, fused_engine, others).T
    )
    assert list(scores.argmax(1)) == [0, 1, 2]
    assert np.all(np.diag(scores) > 0.6), np.diag(scores)


def test_a_sound_and_words_find_what_neither_finds_alone(
    fused_spec: FusedSpec, fused_engine: FusedEngine
) -> None:
    topics = ("a bedtime story", "a court ruling", "a recipe", "a weather report")
    gallery = [(text(f"{topic}: {said}"),) for said in SPOKEN.values() for topic in topics]
    queries = [(spoken(name), text(topic)) for name in SPOKEN for topic in topics]
    found = (embed(fused_spec, fused_engine, queries) @ embed(fused_spec, fused_engine, gallery).T).argmax(1)
    assert (found == np.arange(len(queries))).mean() >= 0.75, found


def test_silence_has_a_vector_and_no_words(fused_spec: FusedSpec, fused_engine: FusedEngine) -> None:
    quiet = Part(PartKind.AUDIO, data=np.zeros(32_000, np.int16))
    silent, said = embed(fused_spec, fused_engine, [(quiet,), (spoken("whales"),)])
    assert np.isfinite(silent).all()
    assert silent @ said < 0.9
