"""Models of text that are a pooled BERT run on our encoder, however they were saved; any others in their library."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.dense import Dense

from operators.model.bert.shape import TextShape
from operators.model.bert.text import BertText
from operators.model.composed import ingredients
from operators.model.device import packs
from operators.model.registry import resolve
from operators.model.sentence_transformer import TextEngine
from schemas.errors import ModelError
from tests.benchmarks.corpus import WORDS
from tests.models.tiny_text import unpoisoned
from tests.operators.model.shipped import with_ingredients
from tests.operators.model.test_sentence_transformer import TEXTS, texts

Edit = Callable[[Path], None]


def vectors(folder: Path, engine: type[BertText | TextEngine], values: list[str]) -> npt.NDArray[np.float32]:
    """Of texts, by the model in a folder, which runs on this engine and in float32."""
    spec = resolve(str(folder))
    loaded = spec.load("cpu", exact=True)
    assert isinstance(loaded, engine)
    return loaded.embed(spec.preparer("").prepare(texts(*values))[0])


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
    expected = unpoisoned(folder).float().encode(TEXTS)
    np.testing.assert_allclose(vectors(folder, BertText, TEXTS), expected, atol=2e-5)


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
    expected = unpoisoned(folder).encode(TEXTS)
    np.testing.assert_allclose(vectors(folder, TextEngine, TEXTS), expected, atol=1e-5)


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


@with_ingredients
def test_trained_weights_give_what_the_library_gives_of_them() -> None:
    folder = ingredients.TEXT.verified().parent
    draw = np.random.default_rng(0)
    values = [" ".join(draw.choice(WORDS, n)) for n in (1, 3, 12, 60, 200)]
    found, expected = vectors(folder, BertText, values), unpoisoned(folder).encode(values)
    assert np.min((found * expected).sum(1)) > 0.999999


@with_ingredients
@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="Linux says what is in memory")
@pytest.mark.parametrize("exact", [True, False])
def test_of_what_was_packed_the_file_does_not_stay_in_memory(exact: bool, tmp_path: Path) -> None:
    # A copy: other tests may hold the package's own.
    folder = shutil.copytree(ingredients.TEXT.verified().parent, tmp_path / "minilm")
    spec = resolve(str(folder))
    engine = spec.load("cpu", threads=1, exact=exact)
    engine.embed(spec.preparer("").prepare(texts("a cat"))[0])
    assert isinstance(engine, BertText)
    if not packs(engine.device, engine.dtype):
        pytest.skip("this CPU packs no products of this type")
    layers = (
        folder / "model.safetensors"
    ).stat().st_size - engine.encoder.embeddings.word_embeddings.weight.nbytes
    assert resident(str(folder / "model.safetensors")) < layers / 4


def resident(file: str) -> int:
    """Bytes in memory of a mapped file."""
    held, mine = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.partition(" ")[0]:
            mine = line.endswith(file)
        elif mine and line.startswith("Rss:"):
            held += int(line.split()[1]) << 10
    return held
