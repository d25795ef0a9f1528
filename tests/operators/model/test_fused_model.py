"""The fused model under the contract, untrained on pretrained parts: one vector for whatever is mixed."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from operators.model.bert.text import BertText
from operators.model.composed.ingredients import TEXT, TEXT_SHAPE
from operators.model.fused.config import FusedConfig
from operators.model.fused.engine import FusedEngine
from operators.model.fused.spec import INGREDIENTS, FusedSpec
from operators.model.registry import resolve
from operators.part_columns import from_arrow, to_arrow
from operators.parts import Part, PartKind
from schemas.card import Modality, Role
from schemas.errors import AssetError, ErrorCode, ModelError
from tests.operators.model.shipped import with_ingredients

pytestmark = with_ingredients
RATE = 16_000
Vectors = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from operators.model.fused.network import from_ingredients

    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("models") / "mine"
    from_ingredients(FusedConfig(image_anchors=16)).save(made, packed=True)
    return made


@pytest.fixture(scope="module")
def spec(folder: Path) -> FusedSpec:
    found = resolve(str(folder))
    assert isinstance(found, FusedSpec)
    return found


@pytest.fixture(scope="module")
def engine(spec: FusedSpec) -> FusedEngine:
    return spec.load("cpu", threads=2, exact=True)


def text(value: str) -> Part:
    return Part(PartKind.TEXT, value)


def image(spec: FusedSpec, seed: int, kind: PartKind = PartKind.IMAGE, at_ms: int | None = None) -> Part:
    assert spec.card.image is not None
    side = spec.card.image.side
    return Part(
        kind, data=np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8), at_ms=at_ms
    )


def sound(seconds: float, seed: int = 0, at_ms: int | None = None) -> Part:
    noise = np.random.default_rng(seed).normal(0, 2_000, int(seconds * RATE))
    return Part(PartKind.AUDIO, data=noise.astype(np.int16), at_ms=at_ms)


def video(spec: FusedSpec, seconds: int, seed: int = 0) -> tuple[Part, ...]:
    pairs = [
        (image(spec, seed + i, PartKind.FRAME, 1000 * i), sound(1, seed + i, 1000 * i))
        for i in range(seconds)
    ]
    return tuple(part for pair in pairs for part in pair)


def mixed(spec: FusedSpec) -> list[tuple[Part, ...]]:
    return [
        (text("a bird"),),
        (image(spec, 1),),
        (sound(2.5),),
        video(spec, 3),
        (text("one two three " * 400),),
        (image(spec, 2), text("Slices with cheese."), sound(1, 5), image(spec, 3)),
        (text("x"),),
    ]


def embed(spec: FusedSpec, engine: FusedEngine, inputs: list[tuple[Part, ...]]) -> Vectors:
    vectors = engine.embed(spec.preparer(Role.DOCUMENT).prepare(inputs)[0])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def together(spec: FusedSpec, engine: FusedEngine) -> Vectors:
    """The vectors of `mixed`, as one batch."""
    return embed(spec, engine, mixed(spec))


def test_mixed_batch_equals_one_by_one_in_the_callers_order(
    spec: FusedSpec, engine: FusedEngine, together: Vectors
) -> None:
    alone = np.concatenate([embed(spec, engine, [one]) for one in mixed(spec)])
    turned = embed(spec, engine, mixed(spec)[::-1])[::-1]
    assert together.shape == (7, spec.card.dim)
    assert np.all((together * alone).sum(1) > 0.9999)
    assert np.all((together * turned).sum(1) > 0.9999)
    others = together @ together.T - np.eye(7)
    assert others.max() < 0.999, "different inputs have different vectors"


def test_same_input_gives_the_same_bits_even_through_arrow(
    spec: FusedSpec, engine: FusedEngine, together: Vectors
) -> None:
    prepared = from_arrow(to_arrow(spec.preparer(Role.DOCUMENT).prepare(mixed(spec))[0]))
    again = engine.embed(prepared)
    np.testing.assert_array_equal(together, again / np.linalg.norm(again, axis=1, keepdims=True))


def test_order_of_parts_is_seen(spec: FusedSpec, engine: FusedEngine) -> None:
    one, other = (image(spec, 1), text("under a tree")), (text("under a tree"), image(spec, 1))
    first, second = embed(spec, engine, [one, other])
    assert 0.5 < first @ second < 0.99999


def test_an_untrained_model_reads_text_as_its_trunk_does(spec: FusedSpec, engine: FusedEngine) -> None:
    prepared = spec.preparer(Role.QUERY).prepare(
        [(text("a cat on a mat"),), (text("tax law, in two words"),)]
    )[0]
    tower = BertText.load(TEXT.path().parent, TEXT_SHAPE, torch.device("cpu"), torch.float32)
    expected = tower.embed(prepared)
    found = engine.embed(prepared)
    cosines = (found * expected).sum(1) / np.linalg.norm(found, axis=1)
    assert np.all(cosines > 0.999), cosines


def test_token_costs_are_those_of_the_rows_that_the_trunk_reads(spec: FusedSpec, engine: FusedEngine) -> None:
    inputs = [
        (text("seven words are in this short text"),),
        (image(spec, 1),),
        (image(spec, 2, PartKind.FRAME),),
    ]
    prepared, tokens = spec.preparer(Role.DOCUMENT).prepare(inputs)
    with torch.inference_mode():
        rows = engine.network.rows(engine._pieces(prepared))
    assert tokens == [len(row) for row in rows]


def test_a_video_s_sound_is_heard_in_one_piece_after_its_frames(spec: FusedSpec) -> None:
    two = (*video(spec, 3), *video(spec, 2, seed=9))
    (parts,), _ = spec.preparer(Role.DOCUMENT).prepare([two])
    assert "".join(str(part.kind)[0] for part in parts) == "fffaffa"
    assert [len(part.array) // RATE for part in parts if part.kind is PartKind.AUDIO] == [3, 2]
    np.testing.assert_array_equal(parts[3].array, np.concatenate([p.array for p in two[:6][1::2]]))
    assert [part.at_ms for part in parts] == [0, 1000, 2000, 0, 0, 1000, 0]


def test_parts_of_a_document_stay_where_they_were(spec: FusedSpec) -> None:
    parts = (sound(1), text("a"), image(spec, 1), sound(1), text("b"))
    (found,), _ = spec.preparer(Role.DOCUMENT).prepare([parts])
    assert "".join(str(part.kind)[0] for part in found) == "atiat"


def test_the_longest_video_window_fits_one_pass(spec: FusedSpec) -> None:
    from operators.decode.windows import Plan
    from schemas.recipe import Recipe

    plan = Plan.of(Recipe(), spec.card, sound=True)
    config = FusedConfig()
    worst = plan.window * spec.card.token_costs.frame + config.audio_tokens + 2
    assert plan.window >= 24
    assert worst <= config.positions


def test_long_text_is_read_to_its_end(spec: FusedSpec, engine: FusedEngine) -> None:
    filler = "the committee met again to discuss the annual budget. " * 60
    cut, whole, volcano = embed(
        spec,
        engine,
        [(text(filler),), (text(filler + "A volcano erupts in Iceland. " * 30),), (text("a volcano"),)],
    )
    assert whole @ volcano > cut @ volcano + 0.1


def test_nothing_to_embed_is_an_empty_asset(spec: FusedSpec) -> None:
    with pytest.raises(AssetError) as error:
        spec.preparer(Role.DOCUMENT).prepare([(text(" \n"),)])
    assert error.value.code is ErrorCode.EMPTY


def test_pixels_of_another_size_are_refused_before_the_actor(spec: FusedSpec) -> None:
    with pytest.raises(AssetError, match="pixels are"):
        spec.preparer(Role.DOCUMENT).prepare([(Part(PartKind.IMAGE, data=np.zeros((9, 9, 3), np.uint8)),)])


def test_the_card_names_modalities_widths_and_every_ingredient(spec: FusedSpec) -> None:
    assert pickle.loads(pickle.dumps(spec)).card == spec.card
    assert set(spec.card.modalities) == set(Modality)
    assert spec.card.widths == (384, 256, 128, 64)
    assert spec.card.model_id == "mine"
    for ingredient in INGREDIENTS:
        assert any(ingredient.sha256 in line and ingredient.version in line for line in spec.card.provenance)


def test_other_weights_are_another_model_and_are_not_loaded(
    spec: FusedSpec, folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "mine"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert resolve(str(copy)).card == spec.card
    weights = copy / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    changed = resolve(str(copy))
    assert changed.card.weights_digest != spec.card.weights_digest
    stale = FusedSpec(replace(spec.source, path=str(copy)), spec.card)
    with pytest.raises(ModelError, match="not those of its card"):
        stale.load("cpu")


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    (tmp_path / "fused.json").write_text("{}")
    with pytest.raises(ModelError, match="holds no fused model"):
        resolve(str(tmp_path))
    (tmp_path / "fused.json").write_text('{"hidden": 5}')
    with pytest.raises(ModelError, match=r"fused\.json"):
        resolve(str(tmp_path))


def test_half_precision_arithmetic_gives_about_the_same_vectors(
    spec: FusedSpec, together: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("operators.model.fused.spec.product_dtype", lambda _, exact: torch.bfloat16)
    rough = embed(spec, spec.load("cpu", threads=2), mixed(spec))
    assert rough.dtype == np.float32
    assert not np.array_equal(together, rough)
    assert np.all((together * rough).sum(1) > 0.98), (together * rough).sum(1)
